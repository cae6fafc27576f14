"""RLtools (github.com/rl-tools/rl-tools): its templates for Arm, weights as constants, the way its own export writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .foreign import Foreign, find_sources
from .networks import Mlp
from .rational_tanh import TANHF

PROGRAM = """#include <rl_tools/rl_tools.h>
#include <rl_tools/operations/arm/group_1.h>
#include <rl_tools/operations/arm/group_2.h>
#include <rl_tools/operations/arm/group_3.h>
#include <rl_tools/nn/layers/dense/operations_arm/opt.h>
#include <rl_tools/nn_models/mlp/operations_generic.h>
namespace rlt = rl_tools;
using Device = rlt::devices::DefaultARM; // its hand-unrolled kernels
using TI = Device::index_t;
using Types = rlt::numeric_types::Policy<float>;
namespace af = rlt::nn::activation_functions;
using Config = rlt::nn_models::mlp::Configuration<Types, TI, {outs}, 3, {hidden}, af::{function}, af::IDENTITY>;
using Shape = rlt::tensor::Shape<TI, 1, 1, {ins}>;
using Net = rlt::nn_models::mlp::NeuralNetwork<Config, rlt::nn::capability::Forward<true, true>, Shape>;
{tables}
static constexpr Net net = {{ {{ {{w0}}, {{b0}} }}, {{ {{ {{w1}}, {{b1}} }} }}, {{ {{w2}}, {{b2}} }} }};
static Net::Buffer<false> buffers;
extern "C" void foreign_step(const float *obs, float *, float *action) {{
  Device device;
  bool rng = false;
  rlt::Matrix<rlt::matrix::Specification<float, TI, 1, {ins}, true>> in;
  rlt::Matrix<rlt::matrix::Specification<float, TI, 1, {outs}, true>> out;
  in._data = const_cast<float *>(obs);
  out._data = action;
  rlt::evaluate(device, net, in, out, buffers, rng);
}}
extern "C" {tanhf}
"""


def program(mlp: Mlp, root: Path) -> Foreign:
    """A three-layer network in RLtools; ``root`` is its source tree."""
    find_sources(root, ["include/rl_tools/nn_models/mlp/network.h"])
    ins, hidden, again, outs = mlp.sizes
    assert hidden == again, "RLtools' MLP has hidden layers of one width"
    tables = []
    for index, (weight, bias) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        tables += [_table(f"w{index}", weight), _table(f"b{index}", bias)]
    text = PROGRAM.format(ins=ins, hidden=hidden, outs=outs, function=mlp.function.upper(), tables="\n".join(tables), tanhf=TANHF)
    return Foreign({"rltools.cpp": text}, ins, outs, include=(root / "include",))


def _table(name: str, values: np.ndarray) -> str:
    words = ", ".join(f"{float(v).hex()}f" for v in values.reshape(-1))
    return f"static constexpr float {name}[{values.size}] = {{{words}}};"
