"""Reading EG3D checkpoints: every format gives the same tensors, settings are translated, nothing is executed."""

import builtins
import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names, inert_pickle, torch_files
from pmv_jax.commands import convert
from pmv_jax.errors import InputError
from tests import command
from tests.checkpoints import fake_torch_files as fake
from tests.checkpoints import fuzz_eg3d_import as fuzz

SPEC = {"init": fake.INIT, "rendering_kwargs": fake.RENDERING, "neural_rendering_resolution": 32}


@pytest.fixture
def read(tmp_path):
    """Writes bytes to a file and reads them as a checkpoint."""

    def run(data, **options):
        path = tmp_path / "checkpoint"
        path.write_bytes(data)
        return eg3d.read_checkpoint(path, **options)

    return run


def assert_tensors(tensors, expected=fake.SMALL_TENSORS):
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)


# Formats


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_official_pickle_gives_tensors_and_settings_in_every_protocol(read, protocol):
    state = read(fake.official_pickle(protocol=protocol))
    assert_tensors(state.tensors)
    assert state.neural_rendering_resolution == 32
    assert state.rendering_kwargs["ray_start"] == 2.25  # the attribute, not the constructor's argument
    assert state.init["mapping_kwargs"] == {"num_layers": 2}
    assert eg3d_families.generator_config(state).rendering.plane_axes == "xy_xz_zx"


def test_a_fine_tuned_network_saved_alone_is_read(read):
    assert_tensors(read(fake.dumps(fake.generator())).tensors)


def test_another_network_of_the_file_can_be_chosen(read):
    data = fake.dumps({"G": fake.generator(), "G_ema": fake.generator({"x": np.ones(1, np.float32)})})
    assert_tensors(read(data, key="G").tensors)
    assert list(read(data).tensors) == ["x"]
    with pytest.raises(InputError, match="no network 'E'; it has G, G_ema"):
        read(data, key="E")


@pytest.mark.parametrize("file_format", [fake.legacy_file, fake.zip_file])
@pytest.mark.parametrize("location", ["cpu", "cuda:1"])
@pytest.mark.parametrize("nested", [False, True])
def test_torch_state_dicts_are_read(read, file_format, location, nested):
    def content(write):
        table = fake.call("collections.OrderedDict", items={k: write(v) for k, v in fake.SMALL_TENSORS.items()})
        return {"G_ema": table} if nested else table

    assert_tensors(read(fake.with_storages(file_format, content, location), spec=SPEC).tensors)


@pytest.mark.parametrize("file_format", [fake.legacy_file, fake.zip_file])
def test_whole_networks_saved_by_torch_are_read_without_a_spec(read, file_format):
    data = fake.with_storages(file_format, lambda write: fake.generator(write=write))
    assert_tensors(read(data).tensors)


@pytest.mark.parametrize("file_format", [fake.npz, fake.compressed_npz, fake.safetensors])
def test_plain_state_dicts_are_read(read, file_format):
    assert_tensors(read(file_format(fake.SMALL_TENSORS), spec=SPEC).tensors)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_dtypes_are_read(read, dtype):
    tensors = {name: array.astype(dtype) for name, array in fake.SMALL_TENSORS.items()}
    assert_tensors(read(fake.safetensors(tensors), spec=SPEC).tensors, tensors)
    assert_tensors(read(fake.official_pickle(fake.generator(tensors))).tensors, tensors)


def test_views_strides_and_sharing_of_storages_are_kept(read):
    values = np.arange(12, dtype=np.float32)
    storage = fake.embedded_storage(values)

    def rebuilt(*args):
        return fake.call("torch._utils._rebuild_tensor_v2", storage, *args, False, None)

    untyped = fake.call("torch.UntypedStorage")
    table = {
        "transposed": rebuilt(0, (3, 4), (1, 3)),
        "part": rebuilt(4, fake.call("torch.Size", (2, 2)), (4, 1)),
        "scalar": rebuilt(11, (), ()),
        "subclass": fake.call(
            "torch._tensor._rebuild_from_type_v2", fake.Name("torch._utils", "_rebuild_tensor_v2"), untyped.name,
            (storage, 0, (12,), (1,), False, None), {"tag": 1}
        ),
    }  # fmt: skip
    tensors = read(fake.dumps(table), spec=SPEC).tensors
    np.testing.assert_array_equal(tensors["transposed"], values.reshape(4, 3).T)
    np.testing.assert_array_equal(tensors["part"], [[4, 5], [8, 9]])
    assert tensors["scalar"].shape == () and tensors["scalar"] == 11
    np.testing.assert_array_equal(tensors["subclass"], values)


def test_untyped_storages_take_their_dtype_from_the_tensor(read):
    values = np.arange(4, dtype=np.float32)
    reference = fake.Persistent(("storage", fake.Name("torch.storage", "UntypedStorage"), "0", "cpu", values.nbytes))
    args = (reference, 0, (4,), (1,), False, None, fake.Name("torch", "float32"))
    data = fake.zip_file({"x": fake.call("torch._utils._rebuild_tensor_v3", *args)}, {"0": values})
    np.testing.assert_array_equal(read(data, spec=SPEC).tensors["x"], values)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numpy_values_of_old_and_new_versions_are_read(read, core):
    dtype = fake.call("numpy.dtype", "f8", False, True, state=(3, "<", None, None, None, -1, -1, 0))
    scalar = fake.call(f"numpy.{core}.multiarray.scalar", dtype, np.float64(2.5).tobytes())
    pivot = np.array([0.0, 0.5, 1.0])
    array = fake.call(
        f"numpy.{core}.multiarray._reconstruct", fake.Name("numpy", "ndarray"), (0,), b"b",
        state=(1, (3,), dtype, False, pivot.tobytes())
    )  # fmt: skip
    rendering = {**fake.RENDERING, "ray_start": scalar, "avg_camera_pivot": array}
    for protocol in (2, 4):
        config = eg3d_families.generator_config(
            read(fake.official_pickle(fake.generator(rendering=rendering), protocol))
        )
        assert config.rendering.ray_start == 2.5 and config.camera_pivot == (0.0, 0.5, 1.0)


# Hostile and broken input


class _Calls:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def test_nothing_is_executed(read, tmp_path):
    mark = tmp_path / "executed"
    source = f"open({str(mark)!r}, 'w')"
    payloads = [
        _Calls(os.system, f"touch {mark}"),
        _Calls(builtins.eval, source),
        _Calls(builtins.exec, source),
        _Calls(getattr, "text", "upper"),
        _Calls(pickle.loads, pickle.dumps(_Calls(os.system, f"touch {mark}"))),
        fake.persistent_object("TriPlaneGenerator", {"_modules": {}}, source),
    ]
    for payload in payloads:
        dumps = fake.dumps if isinstance(payload, fake.Call) else pickle.dumps
        for protocol in range(1, 6):
            with pytest.raises(InputError):
                read(dumps({"G_ema": payload}, protocol))
    assert not mark.exists()


def test_harmless_unknown_objects_do_not_matter(read):
    data = fake.dumps({"D": fake.call("os.system", "true"), "G_ema": fake.generator()})
    assert_tensors(read(data).tensors)


def test_pickles_inside_storages_are_no_way_in(read, tmp_path):
    mark = tmp_path / "executed"
    for content in (fake.call("os.system", f"touch {mark}"), fake.embedded_storage(np.ones(2, np.float32))):
        inner = fake.call("torch.storage._load_from_bytes", fake.legacy_file(content, {}))
        bad = fake.tensor(np.ones(2, np.float32), inner)
        with pytest.raises(InputError, match="w: an embedded storage holds something else"):
            read(fake.dumps({"w": bad}), spec=SPEC)
    assert not mark.exists()


@pytest.mark.parametrize(
    "args, problem",
    [
        ((0, (10**6, 10**6), (1, 1)), "does not fit its storage"),
        ((0, (10**9,), (0,)), "does not fit its storage"),
        ((11, (2,), (1,)), "does not fit its storage"),
        ((-1, (2,), (1,)), "damaged"),
        ((0, (2,), (-1,)), "damaged"),
        ((0, (2, 2), (1,)), "damaged"),
        ((0, (0,), (1,)), "damaged or empty"),
        ((0, "ab", (1,)), "damaged"),
        ((0.5, (2,), (1,)), "damaged"),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(read, args, problem):
    storage = fake.embedded_storage(np.arange(12, dtype=np.float32))
    bad = fake.call("torch._utils._rebuild_tensor_v2", storage, *args, False, None)
    with pytest.raises(InputError, match=f"w: .*{problem}"):
        read(fake.dumps({"w": bad}), spec=SPEC)


def _pickle(*instructions):
    return b"\x80\x04" + b"".join(instructions) + b"."


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"hello",
        b"{}" * 100,
        fake.official_pickle()[:-3],
        fake.official_pickle()[:1000],
        fake.npz(fake.SMALL_TENSORS)[:-30],
        fake.npz(fake.SMALL_TENSORS)[:100],
        fake.safetensors(fake.SMALL_TENSORS)[:-5],
        fake.npz({"x": np.array([{}, None], object)}),
        fake.legacy_file({}, {}, little_endian=False),
        fake.zip_file({}, {}, byteorder="big"),
        pickle.dumps({"D": 1}),
        pickle.dumps([1, 2, 3]),
        _pickle(b"\x8b\xff\xff\xff\x7f"),  # an integer of 2 GB
        _pickle(b"\x8e" + b"\xff" * 8),  # bytes of 2**64 - 1
        _pickle(b"X\xff\xff\xff\xff"),
        _pickle(b")\x94", b"h\x00h\x00\x86\x94" * 10, b"}" + b"h\x0aK\x01s"),  # a tuple deeply shared, as a key
        _pickle(b"(" * 1000),
        _pickle(b"h\x05"),  # an empty memo
        _pickle(b"0"),  # an empty stack
        _pickle(b"N}b"),  # the state of None
        _pickle(b"\x82\x01"),  # extension registry
        _pickle(b"\x97"),  # out-of-band buffer
        b"\x80\x04" + b"\x8f" * (inert_pickle.MAX_INSTRUCTIONS + 1),  # sets without end
    ],
)  # fmt: skip
def test_broken_files_are_refused_in_one_line(read, data):
    with pytest.raises(InputError) as error:
        read(data, spec=SPEC)
    message = str(error.value)
    assert "checkpoint" in message and "\n" not in message and len(message) < 600


def test_shared_structures_take_no_time():
    # Settings that hold themselves twice, sixty levels deep.
    deep = _pickle(b"]\x94", *(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"l\x94" for i in range(60)))
    value = inert_pickle.load(deep).value
    pickled = torch_files.Pickled({}, {}, inert_pickle.Budget(instructions=10_000))
    assert pickled.plain(value, depth=4) is not None
    with pytest.raises(torch_files.FormatError, match="nested without end"):
        pickled.plain(value, depth=100)


def test_modules_that_contain_themselves_are_refused():
    record = inert_pickle.Record("a.B", (), state={"_modules": {}})
    record.state["_modules"]["again"] = record
    pickled = torch_files.Pickled(record, {}, inert_pickle.Budget())
    with pytest.raises(torch_files.FormatError, match="too many nested modules"):
        list(eg3d._state_dict(pickled, record.state))


def test_zip_archives_that_lie_about_sizes_are_refused(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
    data = bytearray(buffer.getvalue())
    directory = data.index(b"PK\x01\x02")
    for size in (10, 1 << 31):  # the uncompressed size as the table of contents says it
        data[directory + 24 : directory + 28] = size.to_bytes(4, "little")
        with pytest.raises(InputError):
            read(bytes(data), spec=SPEC)


def test_mutated_files_are_read_or_refused(tmp_path):
    # tests/checkpoints/fuzz_eg3d_import.py does this thousands of times, and watches what Python does meanwhile.
    seeds, path = fuzz.small_seeds(), tmp_path / "checkpoint"
    shapes = fuzz.shapes_of(fake.SMALL_TENSORS)
    for case in range(300):
        path.write_bytes(fuzz.mutate(seeds, case))
        with contextlib.suppress(InputError):
            fuzz.read(path, shapes)


def test_a_state_dict_needs_a_spec(read):
    with pytest.raises(InputError, match="give --spec"):
        read(fake.npz(fake.SMALL_TENSORS))


def test_other_networks_are_refused_by_name(read):
    network = fake.persistent_object("StyleGAN3", fake.module_state({}))
    with pytest.raises(InputError, match="G_ema is a 'StyleGAN3'"):
        read(fake.dumps({"G_ema": network}))


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"init": 3}', "[" * 100_000])
def test_bad_specs_are_refused(tmp_path, text):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(InputError, match="spec.json"):
        eg3d.read_spec(path)


def test_a_missing_spec_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        eg3d.read_spec(tmp_path / "none.json")


# Command


def _convert(*args):
    return command.run(convert.main, Path.cwd(), "eg3d", *args)


def test_command_converts(tmp_path):
    from pmv_jax.checkpoints import orbax as checkpoints

    init = fake.INIT | {"channel_base": 256, "channel_max": 2, "mapping_kwargs": {"num_layers": 1}}
    spec = SPEC | {"init": init}
    config = eg3d_families.generator_config(eg3d.Eg3dState("", init, fake.RENDERING, 32, {}))
    rng = np.random.default_rng(0)
    tensors = _official_tensors(checkpoints.variable_shapes(config), rng)
    (tmp_path / "w.npz").write_bytes(fake.npz(tensors))
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = _convert("--input", tmp_path / "w.npz", "--spec", tmp_path / "spec.json", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for text in ("SuperresolutionHybrid2X", "XY XZ ZX", "2.25 to 3.3", "128"):
        assert text in done.stdout
    generator = checkpoints.load_generator(tmp_path / "out")
    np.testing.assert_array_equal(
        generator.variables["params"]["decoder"]["net_0"]["weight"], tensors["decoder.net.0.weight"].T
    )
    description = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert description["provenance"]["source_file"] == "w.npz" and len(description["provenance"]["sha256"]) == 64
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "spec.json", "w.npz"]


def _official_tensors(shapes, rng, path=()):
    if not isinstance(shapes, dict):
        name = ".".join(path[1:]).replace("net_", "net.")
        order = eg3d_names.torch_order(path[-1], len(shapes.shape))
        shape = [shapes.shape[order.index(i)] for i in range(len(order))]
        return {name: rng.standard_normal(shape, dtype=np.float32)}
    return {k: v for key, child in shapes.items() for k, v in _official_tensors(child, rng, (*path, key)).items()}


def test_command_refuses_in_one_line_and_leaves_nothing(tmp_path):
    source = tmp_path / "x.pkl"
    source.write_bytes(pickle.dumps({"G_ema": _Calls(os.system, f"touch {tmp_path}/executed")}))
    done = _convert("--input", source, "--output", tmp_path / "out")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "x.pkl" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]
