"""Stands in for packages that FastChat imports, and that its controller and API server never use."""
import importlib.abc
import importlib.machinery
import sys
import types

ABSENT = ("accelerate", "huggingface_hub", "peft", "psutil", "sentencepiece", "tiktoken", "torch", "tqdm", "transformers")


class Anything(type):
    """Any attribute, and any call: a decorator gives back what it decorates."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *args, **kwargs):
        return args[0] if args and callable(args[0]) else cls


class Nothing(metaclass=Anything):
    pass


class Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        # A class of its own each time: some are inherited from.
        return type(name, (Nothing,), {}) if name[:1].isupper() else Nothing


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Module(spec.name)

    def exec_module(self, module):
        module.__path__ = []


sys.meta_path.append(Finder())
