from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from pmv_jax.batch import hlo


def lowered(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(function).lower(*arguments)


def flops(function, *shapes):
    return hlo.flops(hlo.parse(lowered(function, *shapes).as_text("hlo")))


def test_a_matrix_product_counts_two_for_each_pair():
    assert flops(lambda a, b: a @ b, (7, 11), (11, 5)) == 2 * 7 * 11 * 5


def test_a_loop_counts_as_often_as_it_runs():
    def repeated(a):
        return lax.fori_loop(0, 6, lambda i, x: lax.map(lambda row: a @ row, x), a)

    assert flops(repeated, (4, 4)) == 6 * 4 * 2 * 4 * 4
    compiled = hlo.parse(lowered(repeated, (4, 4)).compile().as_text())
    loops = [module_loop for module_loop, _ in compiled.runs() if module_loop.opcode == "while"]
    assert all(compiled.trips(loop, compiled.computations[compiled.entry]) in (4, 6) for loop in loops[:1])


def test_a_loop_of_unknown_length_counts_once():
    assert flops(lambda a, n: lax.while_loop(lambda x: x.sum() < n, lambda x: x @ a, a), (4, 4), ()) == 2 * 4**3


@pytest.mark.parametrize(("stride", "spread", "padding"), [(1, 1, "SAME"), (2, 1, "VALID"), (1, 2, [(2, 2), (1, 1)])])
def test_a_convolution_counts_what_is_no_padding(stride, spread, padding):
    def conv(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, (spread, spread), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ones = jax.eval_shape(conv, jnp.ones((1, 5, 6, 1)), jnp.ones((3, 3, 1, 1)))
    pairs = conv(jnp.ones((1, 5, 6, 1)), jnp.ones((3, 3, 1, 1)))  # how many products each place adds up
    assert ones.shape == pairs.shape
    assert flops(conv, (2, 5, 6, 3), (3, 3, 3, 4)) == 2 * 2 * 3 * 4 * float(pairs.sum())


TEXT = """HloModule m, entry_computation_layout={()->f32[]}

FileNames
1 "/home/x/pmv_jax/rendering/volume.py"
2 "/home/x/jax/lib.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=1 function_name_id=1 line=12 end_line=12 column=1 end_column=2}
2 {file_name_id=2 function_name_id=1 line=7 end_line=7 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}


%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %j = s32[] add(%i, %one)
  %y = f32[8,4]{1,0} fusion(%x), calls=%inner, metadata={stack_frame_id=2}, backend_config={"estimated_cycles":"100"}
  %z = f32[8,4]{1,0} gather(%y, %i), offset_dims={1}, slice_sizes={1,4}
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%j, %z)
}

%inner (q: f32[8,4]) -> f32[8,4] {
  %q = f32[8,4]{1,0} parameter(0)
  ROOT %c = f32[8,4]{1,0} copy(%q)
}

%condition (p.1: (s32[], f32[8,4])) -> pred[] {
  %limit = s32[] constant(5)
  %p.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  %k = s32[] get-tuple-element(%p.1), index=0
  ROOT %lt = pred[] compare(%k, %limit), direction=LT
}

ENTRY %main () -> f32[8,4] {
  %zero = s32[] constant(0)
  %start = f32[8,4]{1,0} constant({...})
  %in = (s32[], f32[8,4]{1,0}) tuple(%zero, %start)
  %loop = (s32[], f32[8,4]{1,0}) while(%in), condition=%condition, body=%body
  ROOT %out = f32[8,4]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_cycles_by_line_and_rows_that_move():
    module = hlo.parse(TEXT)
    assert hlo.cycles(module) == (500, [("pmv_jax/rendering/volume.py:12 copy", 500)])
    assert hlo.moved(module) == {"gather": 5 * 8}
    assert hlo.collectives(module) == []


def test_collectives_are_found():
    text = TEXT.replace("copy(%q)", "all-reduce(%q), replica_groups={}, to_apply=%inner")
    assert hlo.collectives(hlo.parse(text)) == ["all-reduce"]
