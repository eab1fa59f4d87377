"""Another pack, for tests: what its nodes give to ours is NaN, a CURVE as later versions of ComfyUI have it, or a model on a graphics
card that is full."""

import copy
import json

import numpy as np
import torch
from comfy_api.latest import ComfyExtension, io

Model = io.Custom("LARA_MODEL")


class Numbers(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestNumbers", category="tests", inputs=[io.String.Input("numbers")], outputs=[io.Float.Output(display_name="list")])

    @classmethod
    def execute(cls, numbers):
        return io.NodeOutput(json.loads(numbers))


class CurveInput:
    """What a CURVE socket carries, as nodes read it."""

    def __init__(self, points):
        self.points = points

    def interp_array(self, xs):
        return np.interp(xs, *zip(*self.points))


class CurveEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestCurve", category="tests", inputs=[io.String.Input("points")], outputs=[io.Custom("CURVE").Output(display_name="curve")])

    @classmethod
    def execute(cls, points):
        return io.NodeOutput(CurveInput(json.loads(points)))


class FullCard:
    """A LARA_MODEL whose decoder finds no memory."""

    def __init__(self, model):
        self.model, self.memo = model, model.memo

    def ready(self):
        def allocate(*_):
            raise torch.cuda.OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)\nand more lines")

        lara = copy.copy(self.model.ready())
        lara.decoder = copy.copy(lara.decoder)
        lara.decoder.memory = allocate
        return lara


class FillCard(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestFullCard", category="tests", inputs=[Model.Input("model")], outputs=[Model.Output(display_name="model")])

    @classmethod
    def execute(cls, model):
        return io.NodeOutput(FullCard(model))


class TestExtension(ComfyExtension):
    async def get_node_list(self):
        return [Numbers, CurveEditor, FillCard]


async def comfy_entrypoint():
    return TestExtension()
