from tests.tasks.conftest import cache, convlens, convlens_in, first_run, shared, small, trained

__all__ = ["cache", "convlens", "convlens_in", "first_run", "shared", "small", "trained"]
