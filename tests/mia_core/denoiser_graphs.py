"""Denoisers as ONNX graphs: the closed form of a kernel density on members, by what it predicts and how it is asked."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TIMES = {"int64": TensorProto.INT64, "int32": TensorProto.INT32, "float": TensorProto.FLOAT}


def kernel_graph(
    path,
    members,
    alpha_bar,
    bandwidth=0.05,
    prediction="epsilon",
    low=-1.0,
    high=1.0,
    time=("int64", ["B"]),
    variances=False,
    change=lambda model: None,
    batch="B",
):
    """Write the exact denoiser of members [n,C,H,W] in [-1, 1], trained on them brought to low .. high.

    alpha_bar: [T]. time: type and shape of the input t. variances: whether there are as many further channels.
    """
    channels, side = members.shape[1], members.shape[2]
    half, middle = (high - low) / 2, (high + low) / 2
    flat = (half * members.reshape(len(members), -1) + middle).astype(np.float64)
    constants = {
        "ABAR": np.asarray(alpha_bar, np.float64),
        "ONE": np.float64(1),
        "H2": np.float64((bandwidth * half) ** 2),
        "TWO": np.float64(2),
        "M": flat,
        "MT": np.ascontiguousarray(flat.T),
        "M2": (flat**2).sum(1)[None],
        "COLUMN": np.array([-1, 1]),
        "FLAT": np.array([0, -1]),
        "SHAPE": np.array([-1, channels, side, side]),
        "AXIS": np.array([1]),
    }
    lines = [
        ("Cast", "t", "index", {"to": TensorProto.INT64}),
        ("Gather", "ABAR index", "a_any", {}),
        ("Reshape", "a_any COLUMN", "a", {}),
        ("Sqrt", "a", "sa", {}),
        ("Sub", "ONE a", "na", {}),
        ("Sqrt", "na", "sn", {}),
        ("Mul", "a H2", "ah", {}),
        ("Add", "ah na", "spread", {}),
        ("Cast", "x", "xd", {"to": TensorProto.DOUBLE}),
        ("Reshape", "xd FLAT", "xf", {}),
        ("MatMul", "xf MT", "xm", {}),
        ("Mul", "xm sa", "xms", {}),
        ("Mul", "xms TWO", "xm2", {}),
        ("Mul", "M2 a", "m2", {}),
        ("Sub", "xm2 m2", "minus", {}),
        ("Mul", "spread TWO", "s2", {}),
        ("Div", "minus s2", "logits", {}),
        ("Softmax", "logits", "w", {"axis": 1}),
        ("MatMul", "w M", "mean", {}),
        ("Mul", "mean sa", "mean_t", {}),
        ("Sub", "xf mean_t", "away", {}),
        ("Div", "sn spread", "factor", {}),
        ("Mul", "away factor", "eps", {}),
        ("Mul", "eps sn", "eps_part", {}),
        ("Sub", "xf eps_part", "x_part", {}),
        ("Div", "x_part sa", "x0", {}),
        ("Mul", "eps sa", "v_part", {}),
        ("Mul", "x0 sn", "v_part2", {}),
        ("Sub", "v_part v_part2", "v", {}),
        ("Cast", {"epsilon": "eps", "v": "v", "x0": "x0"}[prediction], "single", {"to": TensorProto.FLOAT}),
        ("Reshape", "single SHAPE", "found", {}),
        ("Concat", "found x", "out", {"axis": 1}) if variances else ("Identity", "found", "out", {}),
    ]
    nodes = [helper.make_node(kind, given.split(), [made], **more) for kind, given, made, more in lines]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, side, side]),
        helper.make_tensor_value_info("t", TIMES[time[0]], time[1]),
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, (1 + variances) * channels, side, side])]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "denoiser", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    change(model)
    path.write_bytes(model.SerializeToString())
    return str(path)
