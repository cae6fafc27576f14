"""export/tensorrt: ONNX graph -> TensorRT engine where one can be built here, else a kit that builds it on the device."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ...errors import BadInput, MissingTool, Unsupported, require
from ...policy.bundle import Policy
from ...runtime import cuda_driver, tensorrt_engine
from ...runtime.trust import state_folder
from ...sealed import canonical_json, sha256_bytes, sha256_file, write_atomic
from ...targets import host
from ...targets.profile import Target
from ...targets.tensorrt import TensorRT
from . import compile as compiler
from . import kit
from .half import to_half
from .recipe import builder_options, recipe_of
from .symmetric import to_symmetric

if TYPE_CHECKING:
    import onnx

__all__ = ["build"]

ENGINE, MODEL = "policy.engine", "policy.onnx"


def build(policy: Policy, model: onnx.ModelProto, target: Target, folder: Path) -> dict[str, Any]:
    """Write the kit and, where this machine can build it, the engine into ``folder``; returns the manifest's fields.

    An engine is built by TensorRT-RTX if it knows the target's compute capability, or by TensorRT if the target's GPU is here.
    Raises BadInput for a profile without [tensorrt], Unsupported for a graph that TensorRT refuses (with its own words),
    MissingTool if TensorRT-RTX would do and is not installed.
    """
    settings = target.tensorrt
    if settings is None:
        raise BadInput(f"target {target.name}", expected="a [tensorrt] part for the tensorrt back-end", found="none")
    require("onnx", "export")
    precision = settings.half if settings.half and policy.precision == "fp32" else policy.precision
    graph = to_half(model, precision) if precision == settings.half else to_symmetric(model)
    data = graph.SerializeToString(deterministic=True)
    (folder / MODEL).write_bytes(data)
    recipe = _write_kit(policy, target, settings, precision, folder)
    fields: dict[str, Any] = {
        "target": target,
        "backend": "tensorrt",
        "precision": precision,
        "sizes": {"weights": policy.tensor_bytes, "onnx": len(data)},
    }
    chosen = _builder(settings)
    if isinstance(chosen, str):
        note = {"kit": f"{chosen}: on the device, python3 kit.py builds, checks and times the engine"}
        return fields | {"entry": MODEL, "native": False, "machine": "any", "tools": note | _asked(recipe)}
    flavour, trt, capability = chosen
    built = _compile(trt, data, settings, capability, flavour)
    (folder / ENGINE).write_bytes(built.plan)
    (folder / "build.log").write_text("\n".join(built.log) + "\n", encoding="utf-8")
    (folder / "engine.json").write_text(
        canonical_json({"layers": list(built.layers), "tensors": built.tensors}), encoding="utf-8"
    )
    if built.timing_cache:
        (folder / "timing.cache").write_bytes(built.timing_cache)
    tools = _asked(recipe) | {
        "builder": f"{flavour} {trt.__version__}",
        "engine_sha256": sha256_bytes(built.plan),
        "layers": str(len(built.layers)),
        "build_seconds": f"{built.seconds:.2f}",
        "determinism": "the same graph and version give the same engine"
        if capability
        else "kernels are chosen by timing: with timing.cache a rebuild chooses the same",
    }
    sizes = fields["sizes"] | {"engine": len(built.plan)}
    machine = f"{settings.host}-linux"
    return fields | {"entry": ENGINE, "native": True, "machine": machine, "tools": tools, "sizes": sizes}


def _asked(recipe: dict[str, Any]) -> dict[str, str]:
    return {"compute_capability": recipe["compute_capability"], "options": json.dumps(recipe["options"], sort_keys=True)}


def _builder(settings: TensorRT) -> tuple[str, Any, str] | str:
    """(flavour, module, compute capability to name or "" for the GPU that is here), or why no engine can be built here."""
    wanted = settings.compute_capability
    if host.machine() != f"{settings.host}-linux":
        return f"an engine for {settings.host} cannot be built on {host.machine()}"
    known = []
    for flavour in settings.flavours:
        found = tensorrt_engine.load_flavour([flavour])
        if found is None:
            continue
        trt = found[1]
        if compiler.supports(trt, wanted):
            return flavour, trt, wanted
        try:
            driver = cuda_driver.Driver(context=False)
        except cuda_driver.NoDevice as error:
            known.append(f"{flavour} {trt.__version__} builds for the GPU that is here: {error}")
            continue
        here, name = driver.compute_capability, driver.name
        if here == wanted:
            return flavour, trt, ""
        known.append(f"{flavour} {trt.__version__} builds for {name} ({here}), not for {wanted}")
    if not known and "tensorrt_rtx" in settings.flavours:
        raise MissingTool('TensorRT-RTX is not installed; run: pip install "pilotfish[tensorrt]"')
    return "; ".join(known) or "TensorRT, which is not installed here, builds only for the GPU that it finds"


def _compile(trt: Any, data: bytes, settings: TensorRT, capability: str, flavour: str) -> compiler.Compiled:
    """Build, with the measurements of earlier builds for this GPU and version where the flavour takes some."""
    cache = state_folder() / "tensorrt" / f"{flavour}-{trt.__version__}-sm{settings.compute_capability}.timing"
    known = cache.read_bytes() if not capability and cache.is_file() else b""
    options = builder_options(settings) | {"compute_capability": capability}
    try:
        built = compiler.compile_engine(trt, tensorrt_engine.logger_of(trt), data, options, known)
    except compiler.CompileError as error:
        raise Unsupported("the policy's graph", expected="one that TensorRT builds", found=str(error)) from error
    if built.timing_cache:
        write_atomic(cache, built.timing_cache)
    return built


def _write_kit(policy: Policy, target: Target, settings: TensorRT, precision: str, folder: Path) -> dict[str, Any]:
    """kit.py, what it imports, the golden rollout, the recipe and the README; returns the recipe."""
    if policy.golden is None:
        raise BadInput(policy.name, expected="a golden rollout in the bundle", found="none")
    (folder / "golden.npz").write_bytes(policy.golden.to_bytes())
    sources = {
        "kit.py": kit.__file__,
        "tensorrt_compile.py": compiler.__file__,
        "tensorrt_engine.py": tensorrt_engine.__file__,
        "cuda_driver.py": cuda_driver.__file__,
    }
    for name, source in sources.items():
        shutil.copyfile(source, folder / name)
    names = [MODEL, "golden.npz", *sorted(sources)]
    digests = {name: sha256_file(folder / name) for name in names if name != "kit.py"}
    recipe = recipe_of(policy, target, settings, precision, digests)
    (folder / "recipe.json").write_text(canonical_json(recipe), encoding="utf-8")
    text = Template((Path(__file__).parent / "templates" / "README.txt.in").read_text(encoding="utf-8"))
    words = {
        "name": policy.name,
        "target": target.name,
        "description": target.description,
        "precision": precision,
        "capability": settings.compute_capability,
        "flavours": " or ".join(settings.flavours),
    }
    (folder / "README.txt").write_text(text.substitute(words), encoding="utf-8")
    return recipe
