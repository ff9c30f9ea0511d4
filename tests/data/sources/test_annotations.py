import numpy as np
import pytest
import torch
from PIL import Image

from convlens.data import ImageData, PartsImages, PointedImages, VocObjects
from convlens.data.sources.annotations import AnnotatedIndex, Box, Disc
from convlens.data.sources.voc import CLASSES
from convlens.data.synthetic.dataset import render_scene
from convlens.errors import InputError

XML = """<annotation>{}</annotation>"""
THING = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def test_regions_of_an_oblong_image_by_hand(tmp_path):
    # 40 x 20 pixels: the square is columns 10 to 29, shown at 10 x 10, two pixels of the file to one.
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    things = [Box("object", 10, 0, 14, 20), Box("object", 28, 0, 40, 6), Box("far", 0, 0, 9, 20)]
    shapes = [*things, Disc("eye", 20.0, 10.0, 2.1)]
    image_index = AnnotatedIndex("x", ["a.png"], np.zeros(1, np.int64), tmp_path, [shapes])
    found = image_index.regions(0, 10)
    assert set(found) == {"object", "eye"}  # what the square does not show is left out
    expected = np.zeros((10, 10), bool)
    expected[:, :2] = True
    expected[:3, 9] = True
    assert (found["object"] == expected).all()
    eye = np.zeros((10, 10), bool)
    eye[4:6, 4:6] = True  # middles at 1 px either way, the next at 3
    assert (found["eye"] == eye).all()
    assert image_index.take(np.array([0])).regions(0, 10)["eye"].sum() == 4


def test_regions_follow_an_image_that_is_squeezed(tmp_path):
    # 40 x 20 pixels at 10 x 10: 4 pixels of the file across and 2 down to one.
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    shapes = [Box("object", 28, 0, 40, 6), Disc("eye", 22.0, 9.0, 3.9)]
    image_index = AnnotatedIndex("x", ["a.png"], np.zeros(1, np.int64), tmp_path, [shapes]).with_resize_mode("squeeze")
    found = image_index.regions(0, 10)
    expected = np.zeros((10, 10), bool)
    expected[:3, 7:] = True
    assert (found["object"] == expected).all()
    eye = np.zeros((10, 10), bool)
    eye[3:6, 5] = True  # the middle (22, 9), and those 2 px above and below; the next is 4 px to the side
    assert (found["eye"] == eye).all()
    assert image_index.take(np.array([0])).resize_mode == "squeeze"


def devkit(root, year: int = 2007, test: bool = True) -> None:
    folder = root / f"VOC{year}"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    images = {
        "1": THING.format("dog", 0, 1, 1, 20, 20) + THING.format("cat", 0, 21, 1, 30, 10),
        "2": THING.format("car", 1, 1, 1, 20, 20),
        "3": THING.format("cat", 0, 3, 4, 10, 12),
    }
    for name, things in images.items():
        (folder / "Annotations" / f"{name}.xml").write_text(XML.format(things))
        Image.new("RGB", (32, 32)).save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "ImageSets/Main/train.txt").write_text("1\n2\n")
    (folder / "ImageSets/Main/val.txt").write_text("3\n")
    if test:
        (folder / "ImageSets/Main/test.txt").write_text("3\n1\n")


def test_an_image_of_voc_is_of_its_largest_object(tmp_path):
    devkit(tmp_path)
    source = VocObjects(tmp_path)
    train, val, test = (source.split(name) for name in ("train", "val", "test"))
    assert train.image_index.names == ["JPEGImages/1.jpg"]  # the car is difficult
    assert train.image_index.labels.tolist() == [CLASSES.index("dog")]
    assert (len(val.rows), len(test.rows)) == (1, 2)
    found = train.image_index.regions(0, 32)
    assert set(found) == {"dog", "cat", "object"}
    assert found["dog"].sum() == 400
    assert found["cat"][:10, 20:30].all()
    assert (found["object"] == (found["dog"] | found["cat"])).all()


def test_a_year_without_a_test_is_tested_on_its_val(tmp_path):
    devkit(tmp_path, 2012, test=False)
    source = VocObjects(tmp_path, 2012)
    assert source.split("val") is None
    assert source.split("test").image_index.names == ["JPEGImages/3.jpg"]


def test_a_devkit_that_is_not_there_or_broken_is_said(tmp_path):
    with pytest.raises(InputError, match=r"VOC 2007: .*train\.txt is missing or empty"):
        VocObjects(tmp_path).split("train")
    devkit(tmp_path)
    path = tmp_path / "VOC2007/Annotations/1.xml"
    path.write_text("<annotation><object><name>unicorn</name></object></annotation>")
    with pytest.raises(InputError, match="an object 'unicorn' without a box, or of no class of VOC"):
        VocObjects(tmp_path).split("train")
    path.write_text("<annot")
    with pytest.raises(InputError, match=r"1\.xml cannot be read"):
        VocObjects(tmp_path).split("train")


TABLE = "file,left_x,left_y,right_x,right_y,tail_x,tail_y,bbox_x1,bbox_y1,bbox_x2,bbox_y2\n"


def test_a_table_of_points_is_read(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "parts.csv").write_text(TABLE + "a.png,10,20,30,20,,,5,5,35,35\n")
    source = PointedImages(tmp_path, radius=0.2)
    split = source.split("test")
    assert source.class_names() == ("object",)
    assert source.split("val") is None
    assert split.image_index is source.split("train").image_index
    found = split.image_index.regions(0, 40)
    assert set(found) == {"object", "left", "right"}  # an empty cell: not to be seen
    # 0.2 of the distance of 20 px is a radius of 4.
    assert found["left"][20, 6:14].tolist() == [True] * 8
    assert not found["left"][20, 5]
    assert found["object"].sum() == 30 * 30


def test_a_row_may_have_more_cells_or_fewer(tmp_path):
    (tmp_path / "parts.csv").write_text(TABLE + "a.png,10,20,30,20,,,5,5,35,35,more,cells\nb.png,10,20,30,20\n")
    assert len(PointedImages(tmp_path).split("train").image_index) == 2


def test_parts_may_be_boxes(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    columns = "file,tail_x1,tail_y1,tail_x2,tail_y2,bbox_x1,bbox_y1,bbox_x2,bbox_y2"
    (tmp_path / "parts.csv").write_text(f"{columns}\na.png,1,2,5,9,0,0,20,30\n")
    found = PointedImages(tmp_path).split("test").image_index.regions(0, 40)
    assert {name: int(mask.sum()) for name, mask in found.items()} == {"tail": 28, "object": 600}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"parts\.csv cannot be read \(No such file or directory\): give the csv of the parts"),
        ("name,x\n1,2\n", "has no images with parts: its columns must be file, and <part>_x, <part>_y or"),
        (TABLE + "a.png,ten,20,30,20,1,1,5,5,35,35\n", "coordinates are numbers of pixels"),
        (TABLE + "a.png,10\n", "a.png has left_y='': coordinates are numbers of pixels"),
        (TABLE + "a.png,10,20,30,20,,,5\n", "a.png has bbox_y1='': coordinates are numbers of pixels"),
        (TABLE + "a.png,10,nan,30,20,,,5,5,35,35\n", "a.png has left_y='nan': coordinates are numbers of pixels"),
        (TABLE + "a.png,inf,20,30,20,,,5,5,35,35\n", "a.png has left_x='inf': coordinates are numbers of pixels"),
        (TABLE + "a.png,1,2,3,4,,,5,5,35,35\n,1,2,3,4,,,5,5,35,35\n", "row 2 names no file"),
        ("file,a_x,a_y,b_x1,b_y2\na.png,1,2,3,4\n", "a.png has b_y1='': coordinates are numbers of pixels"),
        (TABLE + "a" * 200_000 + "\n", r"parts\.csv cannot be read \(field larger than"),
    ],
)
def test_a_table_that_is_none_is_said(tmp_path, content, message):
    if content is not None:
        (tmp_path / "parts.csv").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(InputError, match=message):
        PointedImages(tmp_path).split("train")
    with pytest.raises(InputError, match="radius 0: give a number above 0"):
        PointedImages(tmp_path, radius=0)


def test_regions_of_the_built_in_images_are_the_scenes_in_the_centre_crop(tmp_path):
    data = ImageData(PartsImages(train=12, test=6), cache_dir=tmp_path, image_size=48)
    scene = render_scene(int(data.image_id("test", 2).split("/")[1]), seed=0, size=data.stored_size)
    start = (data.stored_size - 48) // 2
    found = data.regions("test", 2)
    assert torch.equal(found["object"], scene.object_mask[start : start + 48, start : start + 48])
    assert "nose" in found
    shown = data.to_display(data.dataset("test")[2][0][None])[0]
    assert torch.equal(shown, scene.image[:, start : start + 48, start : start + 48])
