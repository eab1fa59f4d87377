"""Stands in for torchvision, which has no CPU wheel on PyPI: ComfyUI's server imports it, and our workflows never use it."""

import sys
import types


class _Nothing:
    """Whatever a name stands for: it has attributes, and fails when it is used."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_args, **_kwargs):
        raise RuntimeError("torchvision is a stand-in here; install the real one to use this node")


class _Missing(types.ModuleType):
    """A module with every name in it."""

    __path__ = ()

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()


for _name in ("transforms", "transforms.functional", "ops", "utils", "io", "models"):
    _module = sys.modules[f"{__name__}.{_name}"] = _Missing(f"{__name__}.{_name}")
    if "." not in _name:
        globals()[_name] = _module
transforms.functional = sys.modules[f"{__name__}.transforms.functional"]  # noqa: F821
__version__ = "0"
