"""Calls of the library that must be refused: one line each, with a part of the message.

A verb here has the arguments of a valid call, and a row changes one of them: ``occlude(image=nan(one))``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import convlens
from convlens import transfer
from convlens.transfer import GridPoint, LinearProbe, ProbeConfig, Targets

ROWS = [
    # networks
    ("project(net=None)", "net=None: give a network, an instance of torch.nn.Module"),
    ("project(net=nn.ReLU)", "give a network, an instance of torch.nn.Module"),
    ("project(net=norm)", "layer '1' normalizes by the statistics of the batch"),
    ("project(net=nn.Conv2d(3, 2, 3, device='meta'))", "Conv2d has weights on the device meta"),
    (
        "project(net=diverged, layer='3')",
        "layer '3' has an activation that is NaN or infinite: has the",
    ),
    (
        "project(net=nn.Sequential(nn.Conv2d(3, 2, 3)), layer='0', rule='guided')",
        "Sequential has no ReLU below",
    ),
    ("project(net=nn.Conv2d(1, 2, 3))", "unknown layer '3' in Conv2d: its layers are none"),
    ("project(net=broken, layer=None)", "Broken cannot read images of shape [3, 3, 16, 16]: 'no such key'"),
    ("project(net=nn.Conv2d(4, 2, 3), layer=None)", "Conv2d cannot read images of shape [3, 3, 16, 16]"),
    ("receptive_field(net='net')", "net='net': give a network"),
    ("receptive_field(net=broken, layer='conv')", "Broken cannot read images of shape [1, 3, 16, 16]"),
    ("top_activations(net=[net])", "give a network"),
    ("top_activations(net=norm)", "normalizes by the statistics of the batch"),
    ("top_activations(net=diverged, layers=['3'])", "NaN among the activations of image 0"),
    ("occlude(net=3)", "net=3: give a network"),
    ("occlude(net=norm)", "normalizes by the statistics of the batch"),
    ("occlude(net=diverged)", "the network's output has an activation that is NaN or infinite"),
    ("occlude(net=diverged, target=None, layer='3')", "layer '3' has an activation that is NaN or infinite"),
    ("occlude(net=single, target=0)", "a single score, whose softmax probability is 1 for every image"),
    ("occlude(net=nn.Conv2d(3, 2, 3))", "the network's output has the shape [2, 14, 14]: one score for each class"),
    ("invariance(net=None)", "net=None: give a network"),
    ("invariance(net=norm)", "normalizes by the statistics of the batch"),
    ("invariance(net=diverged)", "the network's output has an activation that is NaN or infinite"),
    ("invariance(net=single, layers=['0'])", "a single score, whose softmax probability is 1"),
    ("correspondence(net=0.5)", "net=0.5: give a network"),
    ("correspondence(net=norm)", "normalizes by the statistics of the batch"),
    ("correspondence(net=diverged)", "has an activation that is NaN or infinite"),
    ("diagnose(net=None)", "net=None: give a network"),
    ("diagnose(net=norm)", "normalizes by the statistics of the batch"),
    ("diagnose(net=single)", "Sequential has 1 convolutions: a diagnosis needs two"),
    ("diagnose(net=diverged)", "NaN among the activations of image 0"),
    ("extract_features(net={})", "net={}: give a network"),
    ("extract_features(net=norm, layers=['2'])", "normalizes by the statistics of the batch"),
    ("extract_features(net=diverged)", "layer '3' has an activation that is NaN or infinite"),
    ("project(net=script)", "net is TorchScript, whose layers cannot be read: give the module it was made of"),
    ("project(net=nn.Sequential(script), layer='0')", "layer '0' is TorchScript, which cannot be read"),
    (
        "project(net=Scores(lambda y: y.long()), layer=None)",
        "the network's output gives Tensor [1, 2] of int64: name",
    ),
    (
        "project(net=Scores(lambda y: y.detach()), layer=None, units=[(0, 0)])",
        "Scores has no gradient to project along",
    ),
    (
        "occlude(net=Scores(lambda y: y > 0))",
        "the network's output gives Tensor [1, 2] of bool: name a layer that",
    ),
    ("occlude(net=Scores(lambda y: y + 0j))", "the network's output gives Tensor [1, 2] of complex64: name a layer"),
    ("occlude(net=Scores(only_one))", "Scores cannot read images of shape [9, 3, 16, 16]: give one image"),
    ("occlude(net=Scores(lambda y: y[:1]))", "the network's output gives 1 rows for 9 images: give a layer of one for"),
    ("occlude(net=script)", "net is TorchScript"),
    (
        "invariance(net=Scores(lambda y: y.long()), layers=['last'])",
        "the network's output gives Tensor [1, 2] of int64",
    ),
    (
        "invariance(net=Scores(only_one), layers=['body'], targets=[0, 1, 1])",
        "Scores cannot read images of shape [2, 3, 16, 16]: give one image",
    ),
    (
        "extract_features(net=Scores(lambda y: y.repeat(2, 1)), layers=['last'])",
        "gives 2 rows for 1 images: give a layer",
    ),
    # images
    ("project(images=None)", "images=None: give one tensor [n, c, h, w]"),
    ("project(images=x.numpy())", "images=ndarray [3, 3, 16, 16] of float32: give one tensor"),
    ("project(images=list(x))", "give one tensor [n, c, h, w] of at least one image, all of one size"),
    ("project(images=one)", "images=Tensor [3, 16, 16] of float32: give one tensor [n, c, h, w]"),
    ("project(images=x[:0])", "images=Tensor [0, 3, 16, 16] of float32: give one tensor [n, c, h, w] of at least one"),
    ("project(images=x[..., :0])", "images=Tensor [3, 3, 16, 0] of float32: give one tensor"),
    ("project(images=x[None])", "images=Tensor [1, 3, 3, 16, 16] of float32: give one tensor"),
    ("project(images=torch.tensor(1.0))", "images=1.0: give one tensor"),
    ("project(images=x.byte())", "images=Tensor [3, 3, 16, 16] of uint8: give floating-point values, normalized as"),
    ("project(images=x.long())", "of int64: give floating-point values"),
    ("project(images=x > 0)", "of bool: give floating-point values"),
    ("project(images=x + 0j)", "of complex64: give floating-point values"),
    ("project(images=x.to_sparse())", "images=sparse Tensor [3, 3, 16, 16] of float32: give one tensor"),
    ("project(images=x.to('meta'))", "images=meta Tensor [3, 3, 16, 16] of float32: give one tensor"),
    ("project(images=nan(x))", "image 1 of images: NaN or infinite values in Tensor [3, 3, 16, 16] of float32"),
    ("project(images=nan(x, inf))", "NaN or infinite values"),
    ("project(images=nan(x, -inf))", "NaN or infinite values"),
    ("project(images=x[:, :2])", "Sequential cannot read images of shape [3, 2, 16, 16]"),
    ("project(images=x[..., :2, :2])", "Sequential cannot read images of shape [3, 3, 2, 2]"),
    ("occlude(image=None)", "image=None: give one image [c, h, w]"),
    ("occlude(image='cat.jpg')", "image='cat.jpg': give one image [c, h, w]"),
    ("occlude(image=x)", "image=Tensor [3, 3, 16, 16] of float32: give one image [c, h, w]"),
    ("occlude(image=one.numpy())", "image=ndarray [3, 16, 16] of float32: give one image [c, h, w]"),
    ("occlude(image=one[:, :0])", "image=Tensor [3, 0, 16] of float32: give one image [c, h, w]"),
    ("occlude(image=one.byte())", "image=Tensor [3, 16, 16] of uint8: give floating-point values"),
    ("occlude(image=nan(one))", "image: NaN or infinite values in Tensor [3, 16, 16] of float32, give finite ones"),
    ("occlude(image=nan(one, inf))", "image: NaN or infinite values"),
    ("occlude(image=one[:1])", "Sequential cannot read images of shape [1, 1, 16, 16]"),
    ("invariance(images=None)", "images=None: give a list"),
    ("invariance(images=[])", "0 images with 3 targets: give a target for each, at least one"),
    ("invariance(images=x[:0], targets=[])", "0 images with 0 targets"),
    ("invariance(images=one[0])", "16 images with 3 targets"),
    ("invariance(images=[one, one, None])", "image=None: give one image [c, h, w]"),
    (
        "invariance(images=[one, one, one[..., :12, :12]])",
        "images of shape [3, 12, 12] after [3, 16, 16]",
    ),
    ("invariance(images=nan(x))", "image: NaN or infinite values"),
    ("invariance(images=nan(x, inf))", "image: NaN or infinite values"),
    ("invariance(images=x.byte())", "image=Tensor [3, 16, 16] of uint8: give floating-point values"),
    ("invariance(images=x[:, :1])", "Sequential cannot read images of shape [1, 1, 16, 16]"),
    ("correspondence(images=None)", "images=None: give a list"),
    ("correspondence(images=x[:1])", "parts['eye'] has 3 masks for 1 images: give a mask for each"),
    ("correspondence(images=x[:0])", "parts['eye'] has 3 masks for 0 images"),
    ("correspondence(images=x[:1], parts={'eye': masks[:1]}, objects=masks[:1])", "compares at least two"),
    ("correspondence(images=[], parts={'eye': []}, objects=[])", "0 image: correspondence compares at least two"),
    ("correspondence(images=nan(x))", "image: NaN or infinite values"),
    ("correspondence(images=nan(x, inf))", "image: NaN or infinite values"),
    ("correspondence(images=x.byte())", "of uint8: give floating-point values"),
    ("correspondence(images=[one, 'two', one])", "image='two': give one image"),
    ("correspondence(images=[one, one, x[0, :1]])", "images of shape [1, 16, 16] after [3, 16, 16]: give one size"),
    ("diagnose(images=None)", "images=None: give one tensor [n, c, h, w]"),
    ("diagnose(images=one)", "images=Tensor [3, 16, 16] of float32: give one tensor"),
    ("diagnose(images=x[:0])", "images=Tensor [0, 3, 16, 16] of float32: give one tensor"),
    ("diagnose(images=nan(x))", "image 1 of images: NaN or infinite values"),
    ("diagnose(images=x.byte())", "of uint8: give floating-point values"),
    ("diagnose(images=x[:, :1])", "Sequential cannot read images of shape [3, 1, 16, 16]"),
    ("diagnose(larger=3)", "larger=3: give a list"),
    ("diagnose(larger=[3])", "larger=3: give one image [c, h, w]"),
    ("diagnose(larger=nan(large))", "larger: NaN or infinite values"),
    ("diagnose(larger=large.byte())", "larger=Tensor [3, 24, 24] of uint8: give floating-point values"),
    ("diagnose(larger=x)", "images of 16 px leave no room to shift a crop of 16 px"),
    ("diagnose(larger=large[:, :1])", "Sequential cannot read images of shape"),
    # loaders
    ("top_activations(loader=None)", "loader=None: give batches of images [n, c, h, w], such as a DataLoader"),
    ("top_activations(loader=5)", "loader=5: give batches of images"),
    ("top_activations(loader='folder')", "loader='folder': give batches of images"),
    ("top_activations(loader=[])", "the loader gave no images: give at least one"),
    (
        "top_activations(loader=[[]])",
        "the loader must give batches of images [n, c, h, w], alone",
    ),
    ("top_activations(loader=[{'image': x}])", "got dict"),
    ("top_activations(loader=x)", "got Tensor [3, 16, 16]"),
    ("top_activations(loader=TensorDataset(x))", "got Tensor [3, 16, 16]"),
    ("top_activations(loader=[x.numpy()])", "got ndarray"),
    ("top_activations(loader=[x, nan(x)])", "image 4 of batch: NaN or infinite values"),
    ("top_activations(loader=[nan(x, inf)])", "image 1 of batch: NaN or infinite values"),
    ("top_activations(loader=[x[:0]])", "batch=Tensor [0, 3, 16, 16] of float32: give one tensor"),
    ("top_activations(loader=[x.byte()])", "batch=Tensor [3, 3, 16, 16] of uint8: give floating-point values"),
    ("top_activations(loader=[x, x[..., :12, :12]])", "image 3 is [3, 12, 12] after images of [3, 16, 16]"),
    (
        "top_activations(loader=DataLoader([one, one[:, 1:]], 2))",
        "images of different sizes in one batch",
    ),
    ("extract_features(loader=None)", "loader=None: give batches of images"),
    ("extract_features(loader=1.5)", "loader=1.5: give batches of images"),
    ("extract_features(loader=[])", "the loader gave no images: give at least one"),
    ("extract_features(loader=[None])", "got NoneType"),
    ("extract_features(loader=[{'image': x}])", "got dict"),
    ("extract_features(loader=x)", "got Tensor [3, 16, 16]"),
    ("extract_features(loader=[nan(x)])", "image 1 of batch: NaN or infinite values"),
    ("extract_features(loader=[nan(x, inf)])", "image 1 of batch: NaN or infinite values"),
    ("extract_features(loader=[x[:0]])", "batch=Tensor [0, 3, 16, 16] of float32: give one tensor"),
    ("extract_features(loader=[x.byte()])", "batch=Tensor [3, 3, 16, 16] of uint8: give floating-point values"),
    (
        "extract_features(loader=[x, x[..., :12, :12]])",
        "layer '3' gives 150 and 54 values for images",
    ),
    ("extract_features(loader=[x, x[:, :1]])", "Sequential cannot read images of shape [3, 1, 16, 16]"),
    ("extract_features(loader=DataLoader([one, one[:, 1:]], 2))", "images of different sizes in one batch"),
    ("top_activations(loader=list)", "loader=<class 'list'>: give batches of images"),
    ("top_activations(loader=[x, x.to(torch.float8_e4m3fn)])", "of float8_e4m3fn: give floating-point values"),
    ("top_activations(progress=np.zeros(2))", "progress=ndarray [2] of float64 is neither true nor false"),
    ("extract_features(loader=DataLoader([one, None]))", "the loader has failed: default_collate: batch must contain"),
    ("extract_features(loader=(1 / 0 for _ in x))", "the loader has failed: division by zero"),
    ("invariance(images=torch.nested.nested_tensor([one, one]))", "images=nested Tensor: give a list"),
    # names of layers
    ("project(layer='33')", "unknown layer '33' in Sequential: did you mean 3? its layers are 0, 1, 2, 3, 4"),
    ("project(layer='')", "unknown layer '' in Sequential: its layers are 0, 1, 2, 3"),
    ("project(layer=3)", "layer=3: give the name of a layer"),
    ("project(layer=['3'])", "layer=['3']: give the name of a layer"),
    ("project(layer=b'3')", "layer=b'3': give the name of a layer"),
    ("receptive_field(layer=None)", "layer=None: give the name of a layer"),
    ("receptive_field(layer='conv9')", "unknown layer 'conv9'"),
    ("receptive_field(layer=0)", "layer=0: give the name of a layer"),
    ("top_activations(layers='1')", "layers='1': give a list of names of layers"),
    ("top_activations(layers=None)", "layers=None: give a list of names of layers"),
    ("top_activations(layers=[])", "no layer is named: name at least one"),
    ("top_activations(layers=[1])", "layers=[1]: give a list of names of layers"),
    ("top_activations(layers=['1', 'x'])", "unknown layer 'x'"),
    ("occlude(layer=1)", "layer=1: give the name of a layer"),
    ("occlude(layer='')", "unknown layer ''"),
    ("occlude(layer=['1'])", "layer=['1']: give the name of a layer"),
    ("invariance(layers='1')", "layers='1': give a list of names of layers"),
    ("invariance(layers=[])", "no layer is named: name at least one"),
    ("invariance(layers=['x'])", "unknown layer 'x'"),
    ("correspondence(layers='1')", "layers='1': give a list of names of layers"),
    ("correspondence(layers=[])", "no layer is named: name at least one"),
    ("correspondence(layers=['x'])", "unknown layer 'x'"),
    ("diagnose(layers='1', larger=large)", "layers='1': give a list of names of layers"),
    ("diagnose(layers=['x'], larger=large)", "unknown layer 'x'"),
    ("diagnose(names=('0',))", "names=('0',): give two layers"),
    ("diagnose(names='03')", "layers='03': give a list of names of layers"),
    ("diagnose(names=('0', 'x'))", "unknown layer 'x'"),
    ("diagnose(names=('0', '6'))", "layer '6' gives a vector: name one that gives maps"),
    ("extract_features(layers='3')", "layers='3': give a list of names of layers"),
    ("extract_features(layers=[])", "no layer is named: name at least one"),
    ("extract_features(layers=[None])", "layers=[None]: give a list of names of layers"),
    ("extract_features(layers={'3': 1})", "layers={'3': 1}: give a list of names of layers"),
    # units
    ("project(units=None)", "units=None of layer '3': give (image, map, y, x) for each unit"),
    ("project(units=7)", "units=7 of layer '3': give (image, map, y, x) for each unit"),
    ("project(units='0000')", "units='0000' of layer '3': give"),
    ("project(units=(0, 0, 0, 0))", "unit 0 of layer '3': give (image, map, y, x)"),
    ("project(units=torch.zeros(1, 4))", "unit (0.0, 0.0, 0.0, 0.0) of layer '3': give (image, map, y, x)"),
    ("project(units=[(0, 0, 0)])", "unit (0, 0, 0) of layer '3': give (image, map, y, x)"),
    ("project(units=[(0, 0, 0, True)])", "unit (0, 0, 0, True) of layer '3': give"),
    ("project(units=[(0, 0, 0, 'x')])", "unit (0, 0, 0, 'x') of layer '3': give"),
    ("project(units=[(0, 0, 0, np.nan)])", "unit (0, 0, 0, nan) of layer '3': give"),
    ("project(units=[(3, 0, 0, 0)])", "unit (3, 0, 0, 0) of layer '3': image 3 is outside 0..2"),
    ("project(units=[(0, 10**30, 0, 0)])", "is outside 0..5"),
    ("project(units=[(0, 0, -1, 0)])", "y -1 is outside 0..4"),
    ("project(layer=None, units=[(0, 5)])", "unit (0, 5) of the network's output: unit 5 is outside 0..4"),
    ("project(units=np.zeros((1, 2, 4), int))", "of layer '3': give (image, map, y, x)"),
    # classes
    ("occlude(target=5)", "label 5 is out of range: the network has the classes 0 to 4"),
    ("occlude(target=np.int32(-1))", "label -1 is out of range"),
    ("occlude(target=1.0)", "label=1.0: give a whole number"),
    ("occlude(target='cat')", "label='cat': give a whole number"),
    ("occlude(target=True)", "label=True: give a whole number"),
    ("occlude(target=torch.tensor([1, 2]))", "label=Tensor [2] of int64: give a whole number"),
    ("occlude(target=10**30)", "label=1000000000000000000000000000000: give a whole number"),
    ("occlude(target=None)", "occlude needs a target, a layer, or both"),
    ("invariance(targets=None)", "targets=None: give a list"),
    ("invariance(targets=1)", "targets=1: give a list"),
    ("invariance(targets=torch.tensor(1))", "targets=1: give a list"),
    ("invariance(targets=[0, 1])", "3 images with 2 targets: give a target for each"),
    (
        "invariance(targets=np.array([0, 1, 5], np.int32))",
        "label 5 is out of range: the network has the classes 0 to 4",
    ),
    ("invariance(targets=torch.tensor([0.0, 1, 2]))", "label=0.0: give a whole number"),
    ("invariance(targets='abc')", "targets='abc': give a list"),
    # numbers
    ("receptive_field(input_size=16)", "input_size=16: give height and width, two integers of at least 1"),
    ("receptive_field(input_size=None)", "input_size=None: give height and width"),
    ("receptive_field(input_size=(16, 0))", "input_size=(16, 0): give height and width"),
    ("receptive_field(input_size=(16.0, 16))", "input_size=(16.0, 16): give height and width"),
    ("receptive_field(input_size=(16, 16, 3))", "input_size=(16, 16, 3): give height and width"),
    ("receptive_field(input_size='ab')", "input_size='ab': give height and width"),
    ("receptive_field(input_size=(10**9, 10**9))", "fits into no memory: give smaller sides"),
    ("receptive_field(input_size=(10**30, 16))", "give height and width"),
    ("receptive_field(input_size=(2, 2))", "cannot read images of shape [1, 3, 2, 2]"),
    ("top_activations(k=0)", "k=0: give a whole number from 1 to 1000000"),
    ("top_activations(k=-3)", "k=-3: give a whole number from 1 to 1000000"),
    ("top_activations(k=1.5)", "k=1.5: give a whole number"),
    ("top_activations(k=None)", "k=None: give a whole number"),
    ("top_activations(k='9')", "k='9': give a whole number"),
    ("top_activations(k=10**12)", "k=1000000000000: give a whole number from 1 to 1000000"),
    ("occlude(size=0)", "an occluder of 0 px does not fit in an image of 16 px: give a size from 1 to 16"),
    ("occlude(size=17)", "an occluder of 17 px does not fit in an image of 16 px"),
    ("occlude(size=2.0)", "size=2.0: give a whole number"),
    ("occlude(size='4')", "size='4': give a whole number"),
    ("occlude(size=10**30)", "size=1000000000000000000000000000000: give a whole number"),
    ("occlude(stride=0)", "the occluder's stride is 0 px: give at least 1"),
    ("occlude(stride=0.5)", "stride=0.5: give a whole number"),
    ("occlude(stride=inf)", "stride=inf: give a whole number"),
    ("occlude(value=np.nan)", "value: NaN or infinite values"),
    ("occlude(value=inf)", "value: NaN or infinite values"),
    ("occlude(value=None)", "value=None: give a number, 3 numbers, or an image [3, 16, 16]"),
    ("occlude(value='grey')", "value='grey': give a number, 3 numbers, or an image [3, 16, 16]"),
    ("occlude(value=torch.zeros(2))", "value=Tensor [2] of float32: give a number, 3 numbers, or an image [3, 16, 16]"),
    ("occlude(value=x)", "value=Tensor [3, 3, 16, 16] of float32: give a number, 3 numbers, or an image"),
    ("occlude(layer='1', map=4)", "map 4 of 1 is out of range: give 0 to 3"),
    ("occlude(layer='1', map=0.0)", "map=0.0: give a whole number"),
    ("occlude(max_elements=0)", "max_elements=0: give a whole number"),
    ("occlude(max_elements=None)", "max_elements=None: give a whole number"),
    ("project(batch_size=0)", "batch_size=0: give a whole number of at least 1"),
    ("project(batch_size=2.5)", "batch_size=2.5: give a whole number of at least 1"),
    ("invariance(batch_size=0)", "batch_size=0: give a whole number of at least 1"),
    ("invariance(batch_size=None)", "batch_size=None: give a whole number of at least 1"),
    ("invariance(values=[])", "values=[]: give a list of finite numbers, at least one"),
    ("invariance(values=1.5)", "values=1.5: give a list of finite numbers, at least one"),
    ("invariance(values=np.array([1, np.nan]))", "values[1]=nan: give a finite number"),
    ("invariance(values=[inf])", "values[0]=inf: give a finite number"),
    ("invariance(values=['1'])", "values[0]='1': give a finite number"),
    ("invariance(values=np.ones((2, 2)))", "values[0]=[1.0, 1.0]: give a finite number"),
    ("invariance(values=[0.0])", "scale 0.0: give a factor above 0"),
    ("invariance(kind='translation', values=[1e300])", "values[0]=1e+300: give a finite number from"),
    ("invariance(size=0)", "size=0: give a whole number of at least 1"),
    ("invariance(size=17)", "size 17 is larger than the image of 16 x 16 px"),
    ("invariance(size=8.0)", "size=8.0: give a whole number"),
    ("invariance(black=np.nan)", "black: NaN or infinite values"),
    ("invariance(black='black')", "black='black': give a number or an image [3, 16, 16]"),
    (
        "invariance(black=torch.zeros(3, 5, 5))",
        "black=Tensor [3, 5, 5] of float32: give a number or an image [3, 16, 16]",
    ),
    ("correspondence(value=np.nan)", "value=nan: give a finite number"),
    ("correspondence(value='grey')", "value='grey': give a finite number"),
    ("correspondence(value=10**400)", "give a finite number"),
    ("correspondence(seed=-1)", "seed=-1: give a whole number of at least 0"),
    ("correspondence(seed=None)", "seed=None: give a whole number of at least 0"),
    ("diagnose(batch_size=0)", "batch_size=0: give a whole number of at least 1"),
    ("extract_features(pool_size=0)", "pool_size=0: give a whole number of at least 1"),
    ("extract_features(pool_size=1.0)", "pool_size=1.0: give a whole number of at least 1"),
    ("extract_features(pool_size='2')", "pool_size='2': give a whole number of at least 1"),
    ("occlude(value=10**400)", "give a number, 3 numbers, or an image [3, 16, 16]"),
    ("occlude(size=torch.tensor([True]))", "size=Tensor [1] of bool: give a whole number"),
    ("invariance(black=10**400)", "give a number or an image [3, 16, 16]"),
    ("invariance(values=torch.ones(2).to('meta'))", "values=meta Tensor [2] of float32: give a list of finite numbers"),
    ("project(units=torch.ones(1, 4, dtype=int).to_sparse())", "units=sparse Tensor [1, 4] of int64 of layer '3'"),
    # masks
    ("correspondence(parts=None)", "parts=None: give {name: masks}, a mask for each image"),
    ("correspondence(parts={})", "parts={}: give {name: masks}, a mask for each image"),
    ("correspondence(parts=masks)", "give {name: masks}, a mask for each image"),
    ("correspondence(parts={'eye': None})", "parts['eye']=None: give a list"),
    ("correspondence(parts={'eye': masks[:2]})", "parts['eye'] has 2 masks for 3 images: give a mask for each"),
    ("correspondence(parts={'eye': masks.float()})", "give tensors [16, 16] of true and false"),
    ("correspondence(parts={'eye': masks[..., :8]})", "parts['eye'] has a mask Tensor [16, 8] of bool: give tensors"),
    ("correspondence(parts={'eye': ~masks & masks})", "a mask of image 0 is empty"),
    ("correspondence(objects=None)", "objects=None: give a list"),
    ("correspondence(objects=masks[:1])", "objects has 1 masks for 3 images: give a mask for each"),
    ("correspondence(objects=masks.long())", "objects has a mask Tensor [16, 16] of int64: give tensors"),
    ("correspondence(objects=~masks & masks)", "the object's mask is empty: random regions need an object"),
    # words and functions
    ("project(rule='deconv')", "rule='deconv' is unknown: choose deconvnet, gradient, guided"),
    ("project(rule=None)", "rule=None is unknown: choose deconvnet, gradient, guided"),
    ("project(signal=2)", "signal=2 is unknown: choose activation, one"),
    ("project(unpool=['sum'])", "unpool=['sum'] is unknown: choose sum, overwrite"),
    ("project(lrn='none')", "lrn='none' is unknown: choose identity, adjoint"),
    ("invariance(kind='shear')", "kind='shear' is unknown: choose translation, scale, rotation"),
    ("invariance(kind=None)", "kind=None is unknown: choose translation, scale, rotation"),
    ("invariance(border='wrap')", "border='wrap' is unknown: choose black, reflect, source"),
    ("correspondence(form='two-valued')", "form='two-valued' is unknown: choose three-valued, non-zero"),
    ("correspondence(form=[])", "form=[] is unknown: choose three-valued, non-zero"),
    ("extract_features(pooling='sum')", "pooling='sum' is unknown: choose average, max"),
    ("extract_features(pooling=None)", "pooling=None is unknown: choose average, max"),
    ("occlude(on_progress=None)", "on_progress=None: give a function"),
    ("invariance(on_progress='bar')", "on_progress='bar': give a function"),
    ("invariance(preprocess=None)", "preprocess=None: give a function"),
    ("invariance(preprocess=lambda pixels: None)", "preprocess(images)=None: give one tensor"),
    ("invariance(preprocess=lambda pixels: pixels[0])", "preprocess(images)=Tensor [3, 16, 16] of float32: give one"),
    ("invariance(preprocess=lambda pixels: pixels.byte())", "preprocess(images)=Tensor [1, 3, 16, 16] of uint8"),
    ("invariance(preprocess=lambda pixels: pixels * np.nan)", "image 0 of preprocess(images): NaN or infinite values"),
    ("invariance(preprocess=lambda pixels: pixels[:1])", "preprocess makes 1 images of 2: give a function that keeps"),
    ("diagnose(preprocess=3)", "preprocess=3: give a function"),
    ("diagnose(preprocess=lambda pixels: None, larger=large)", "preprocess(images)=None: give one tensor"),
    ("project(rule=np.array([1, 2]))", "rule=ndarray [2] of int64 is unknown: choose deconvnet, gradient, guided"),
    ("project(lrn=np.ones(2))", "lrn=ndarray [2] of float64 is unknown: choose identity, adjoint"),
    ("project(lrn='')", "lrn='' is unknown: choose identity, adjoint"),
    ("diagnose(names=np.array(['0', '3']))", "give a list of names of layers"),
    ("diagnose(names=('0', '0'))", "give two layers"),
    ("invariance(preprocess=len)", "preprocess(images)=1: give one tensor"),
    ("invariance(preprocess=nn.Conv2d(4, 1, 1))", "preprocess has failed: "),
    ("occlude(on_progress=lambda: None)", "on_progress has failed: "),
    # probes
    ("fit_probe(probe='knn')", "probe='knn' is unknown: choose svm, softmax, sigmoid"),
    ("fit_probe(probe=[])", "probe=[] is unknown: choose svm, softmax, sigmoid"),
    ("fit_probe(features=None)", "features=None: give a tensor of numbers with a row for each image"),
    ("fit_probe(features=np.ones((20, 3)))", "features=ndarray [20, 3] of float64: give a tensor of numbers"),
    ("fit_probe(features=torch.ones(20))", "features=Tensor [20] of float32: give a tensor of numbers with a row"),
    ("fit_probe(features=torch.ones(20, 0))", "features=Tensor [20, 0] of float32: give a tensor of numbers"),
    ("fit_probe(features=torch.ones(20, 3) + 1j)", "features=Tensor [20, 3] of complex64: give a tensor of numbers"),
    ("fit_probe(features=torch.full((20, 3), inf))", "features are not finite"),
    ("fit_probe(features=torch.ones(19, 3))", "features of 19 images and targets of 20: give as many of each"),
    ("fit_probe(targets=None)", "targets=None: give a tensor of numbers with a row for each image"),
    ("fit_probe(targets=torch.ones(20))", "targets=Tensor [20] of float32: give a tensor of numbers with a row"),
    ("fit_probe(targets=torch.ones(20, 0))", "targets=Tensor [20, 0] of float32: give a tensor of numbers"),
    ("fit_probe(targets=torch.full((20, 2), np.nan))", "targets are not finite: give finite ones"),
    ("fit_probe(C=None)", "C=None: give a finite number"),
    ("fit_probe(C='1')", "C='1': give a finite number"),
    ("fit_probe(C=np.nan)", "C=nan: give a finite number"),
    ("fit_probe(C=0)", "C is 0: give a finite number above 0"),
    ("fit_probe(C=10**400)", "give a finite number"),
    ("fit_probe(tolerance=np.nan)", "tolerance=nan: give a finite number of at least 0"),
    ("fit_probe(tolerance=-1)", "tolerance=-1: give a finite number of at least 0"),
    ("fit_probe(start='svm')", "start='svm': give a LinearProbe with finite weights of shape [4, 2]"),
    (
        "fit_probe(start=LinearProbe(torch.zeros(9, 9), 0.0, 0, 0.0))",
        "give a LinearProbe with finite weights of shape [4",
    ),
    ("class_targets(probe=None)", "probe=None is unknown: choose svm, softmax, sigmoid"),
    ("class_targets(labels=[0, 1])", "labels=[0, 1]: give a tensor of integers of 1 axes"),
    ("class_targets(labels=torch.ones(2))", "labels=Tensor [2] of float32: give a tensor of integers"),
    ("class_targets(labels=torch.tensor([0, 5]))", "label 5 is out of range: the classes are 0 to 1"),
    ("class_targets(labels=torch.tensor([0, -1]))", "label -1 is out of range: the classes are 0 to 1"),
    ("class_targets(num_classes=2.0)", "num_classes=2.0: give a whole number of at least 1"),
    ("class_targets(num_classes=10**400)", "give a whole number of at least 1"),
    ("ProbeConfig(normalize=np.array(['l2', 'l2']))", "is unknown: choose l2, standardize, none"),
    ("ProbeConfig(C=[1.0])", "C=[1.0]: give a finite number"),
    ("ProbeConfig(C={'svm': -1.0})", "C['svm'] is -1.0: give a finite number above 0"),
    ("ProbeConfig(cv_folds=None)", "cv_folds=None: give a whole number of at least 2"),
    ("Targets(labels=None)", "labels=None: give a tensor of integers of 1 axes"),
    ("Targets(num_classes='2')", "num_classes='2': give a whole number of at least 1"),
    (
        "Targets(multilabel=torch.ones(3, 2, dtype=int))",
        "multilabel has the shape [3, 2]: give [20, 2], a row for each",
    ),
    ("fit_grid(targets=None)", "targets=None: give Targets"),
    ("fit_grid(config={})", "config={}: give ProbeConfig"),
    ("fit_grid(points=[None])", "points have None: give GridPoints"),
    ("fit_grid(points=[GridPoint('3', 'knn', None, 0)])", "probe='knn' is unknown: choose svm, softmax, sigmoid"),
    ("fit_grid(read=lambda layer: None)", "read('3')=None: give a tensor of numbers with a row for each image"),
    ("scores(features=torch.ones(2, 4))", "features=Tensor [2, 4] of float32: give 3 columns"),
    # results
    ("top.unit(4, 0)", "feature_map=4: give a whole number from 0 to 3"),
    ("top.unit(0, 5)", "rank=5: give a whole number from 0 to 4"),
    ("top.unit(-1, 0)", "feature_map=-1: give a whole number"),
    ("top.unit('0', 0)", "feature_map='0': give a whole number"),
    ("top.unit(0, 4)", "map 0 has no activation of rank 4: fewer images were searched"),
    ("receptive_field().box(0.5, 0)", "y=0.5: give a whole number"),
    ("receptive_field().box(0, None)", "x=None: give a whole number"),
    ("occlude(target=None, layer='1').drop", "these maps have no probability: call occlude with a target"),
]
"""A call, and a part of the line that answers it."""


class Broken(nn.Module):
    """A network whose own code fails."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        raise KeyError("no such key")


class Scores(nn.Module):
    """A network whose scores are what a function makes of [n, 2]."""

    def __init__(self, change: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.change, self.last = change, nn.Identity()

    def forward(self, images: Tensor) -> object:
        return self.last(self.change(self.body(images)))


def only_one(scores: Tensor) -> Tensor:
    assert len(scores) == 1, "give one image"
    return scores


def network() -> nn.Sequential:
    torch.manual_seed(0)
    maps = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
    return nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


def nan(images: Tensor, value: float = np.nan) -> Tensor:
    """The images with one value replaced, of the image 1 if there are several."""
    found = images.clone()
    found.view(-1)[found.numel() // 2] = value
    return found


def valid_calls() -> dict[str, Callable[..., Any]]:
    """The verbs by name, with the arguments of a valid call."""
    net, x = network(), torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[:, 4:9, 5:9] = True
    given: dict[str, dict[str, Any]] = {
        "project": {"images": x, "layer": "3", "units": [(0, 0, 0, 0)], "rule": "gradient"},
        "receptive_field": {"layer": "3", "input_size": (16, 16)},
        "top_activations": {"loader": [x], "layers": ["1"], "k": 5, "progress": False},
        "occlude": {"image": x[0], "target": 1, "size": 4, "stride": 6},
        "invariance": {"images": x, "targets": [0, 1, 2], "layers": ["3"], "kind": "scale", "values": [1.0, 1.5]},
        "correspondence": {"images": x, "parts": {"eye": masks}, "objects": masks, "layers": ["3"]},
        "diagnose": {"images": x},
        "extract_features": {"loader": [x], "layers": ["3"]},
    }
    return {name: partial(changed, name, {"net": net} | arguments) for name, arguments in given.items()}


def changed(verb: str, valid: Mapping[str, Any], **arguments: Any) -> Any:
    return getattr(convlens, verb)(**(dict(valid) | arguments))


def fits() -> dict[str, Callable[..., Any]]:
    """What is public for probes, with valid arguments."""
    labels = torch.arange(20) % 2
    features, targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(2)), Targets(labels, 2)
    probe = transfer.fit_probe("svm", features, transfer.class_targets("svm", labels, 2), 1.0)
    given: dict[str, dict[str, Any]] = {
        "fit_probe": {"features": features, "targets": transfer.class_targets("svm", labels, 2), "C": 1.0},
        "class_targets": {"labels": labels, "num_classes": 2},
        "ProbeConfig": {},
        "Targets": {"labels": labels, "num_classes": 2},
        "fit_grid": {
            "read": lambda layer: features, "targets": targets, "config": ProbeConfig(C=1.0),
            "split": lambda size, fold: (torch.arange(12), torch.arange(12, 20)),
            "points": [GridPoint("3", "svm", None, 0)],
        },
    }  # fmt: skip
    given["fit_probe"]["probe"] = given["class_targets"]["probe"] = "svm"

    def call(verb: str, **arguments: Any) -> Any:
        result = getattr(transfer, verb)(**(given[verb] | arguments))
        return list(result) if verb == "fit_grid" else result

    return {verb: partial(call, verb) for verb in given} | {"scores": lambda features: probe.scores(features)}


def names() -> dict[str, Any]:
    """What the rows refer to."""
    net, x = network(), torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    diverged, masks = network(), torch.zeros(3, 16, 16, dtype=torch.bool)
    nn.init.constant_(diverged[0].weight, np.nan)
    masks[:, 4:9, 5:9] = True
    calls = valid_calls()
    return (calls | fits()) | {
        "net": net,
        "x": x,
        "one": x[0],
        "large": torch.rand(2, 3, 24, 24),
        "masks": masks,
        "nan": nan,
        "inf": np.inf,
        "np": np,
        "nn": nn,
        "torch": torch,
        "DataLoader": DataLoader,
        "TensorDataset": TensorDataset,
        "LinearProbe": LinearProbe,
        "GridPoint": GridPoint,
        "diverged": diverged,
        "Scores": Scores,
        "only_one": only_one,
        "script": torch.jit.script(network()),
        "broken": Broken(),
        "norm": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Conv2d(4, 4, 3)),
        "single": nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "top": calls["top_activations"]()["1"],
    }
