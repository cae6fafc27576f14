"""The code of a TorchScript archive, parsed and never run: classes, methods, functions, constants.

torch.jit writes its programs as Python-like text under code/ (torch/csrc/jit/serialization/python_print.cpp);
the :mod:`ast` module takes it apart.
"""

from __future__ import annotations

import ast
from typing import Any

from ...errors import BadInput
from .archive import Archive

MAX_CODE_BYTES = 1 << 20
_ROOT = "__torch__"


class ScriptCode:
    """The definitions below code/ of one archive, by qualified name such as "__torch__.torch.nn.modules.linear.Linear"."""

    def __init__(self, archive: Archive, folder: str) -> None:
        self.archive, self.folder = archive, folder
        self._modules: dict[str, dict[str, ast.ClassDef | ast.FunctionDef]] = {}

    def _definitions(self, module: str) -> dict[str, ast.ClassDef | ast.FunctionDef]:
        if module not in self._modules:
            name = f"{self.folder}code/{module.replace('.', '/')}.py"
            if name not in self.archive.names:
                return {}
            try:
                tree = ast.parse(self.archive.text(name, MAX_CODE_BYTES))
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                raise BadInput(self.archive.where, expected=f"TorchScript code in {name}", found=f"{error}"[:120]) from error
            self._modules[module] = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
        return self._modules[module]

    def find(self, path: str) -> ast.ClassDef | ast.FunctionDef | None:
        """The class or free function of a qualified name; None where the archive has none."""
        module, _, name = path.rpartition(".")
        return self._definitions(module).get(name) if module.startswith(_ROOT) else None

    def methods(self, path: str) -> dict[str, ast.FunctionDef]:
        """The methods of a class."""
        found = self.find(path)
        return {n.name: n for n in found.body if isinstance(n, ast.FunctionDef)} if isinstance(found, ast.ClassDef) else {}

    def constants(self, path: str) -> dict[str, Any]:
        """The ``name : Final[type] = value`` constants of a class."""
        found = self.find(path)
        constants: dict[str, Any] = {}
        for node in found.body if isinstance(found, ast.ClassDef) else []:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                try:
                    constants[node.target.id] = ast.literal_eval(node.value)
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    continue  # a constant that is no plain value; whoever needs it will say so
        return constants


def family(path: str) -> str:
    """A class or function path without "__torch__." and without the marks that torch adds to keep names apart."""
    parts = [p for p in path.split(".") if p != _ROOT and not p.startswith("___torch_mangle_")]
    return ".".join(parts)
