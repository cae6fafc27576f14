"""Stands in for TensorRT-RTX 1.7: what it has beyond tensorrt.py. Builds for GPUs that are not here; compiles on loading."""

import enum
import os

import tensorrt as plain
from tensorrt import *  # noqa: F403 one interface, as with the real ones

__version__ = "1.7.1"
ComputeCapability = enum.Enum("ComputeCapability", "SM86 SM89 SM120")
KERNELS = b"kernels\n"
compiled = []
"""One entry for every engine whose kernels were not in its cache."""


class _Config(plain._Config):
    num_compute_capabilities = 0

    def set_compute_capability(self, capability, index):
        assert index < self.num_compute_capabilities
        self.capability = capability

    def set_timing_cache(self, cache, ignore_mismatch):
        raise AssertionError("TensorRT-RTX measures nothing while it builds")


class Builder(plain.Builder):
    def create_builder_config(self):
        return _Config()


class _Cache:
    def __init__(self):
        self.data = b""

    def deserialize(self, data):
        self.data = data if data == KERNELS else b""
        return bool(self.data)

    def serialize(self):
        return self.data


class _RuntimeConfig:
    cache = None

    def create_runtime_cache(self):
        return _Cache()

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class _Engine(plain._Engine):
    def create_runtime_config(self):
        return _RuntimeConfig()

    def create_execution_context(self, config):
        if not config.cache.data:
            compiled.append(os.getpid())
            config.cache.data = KERNELS
        return super().create_execution_context()


class Runtime(plain.Runtime):
    engine = _Engine
