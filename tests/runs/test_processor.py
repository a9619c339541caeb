import pytest

from transfuse_keras.runs import processor

ZEN4 = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu avx avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: AMD EPYC 9R14
flags\t\t: fpu
"""
PI5 = """processor\t: 0
Features\t: fp asimd asimdhp asimddp
"""


@pytest.mark.parametrize(
    ("text", "name", "instructions"),
    [
        (ZEN4, "AMD EPYC 9R14", ["AVX2", "AVX-512", "VNNI", "bfloat16"]),
        (ZEN4.replace("avx512_vnni", "avx_vnni"), None, ["AVX2", "AVX-512", "VNNI", "bfloat16"]),
        (PI5, None, ["NEON", "dot product"]),
        ("", None, []),
    ],
)
def test_a_processor_is_described(text, name, instructions, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    found = processor.describe_processor()
    assert found["instructions"] == instructions
    assert found["cpu"] and name in (None, found["cpu"])


def test_without_the_file_of_linux_the_system_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "absent")
    assert processor.describe_processor()["instructions"] == []


@pytest.mark.parametrize(
    ("sets", "given", "wanted"),
    [
        (["AVX2"], None, "1"),
        (["AVX2"], "0", "0"),  # the user's own setting wins
        (["AVX2", "AVX-512"], None, None),
        (["AVX2", "VNNI"], None, None),
        (["NEON"], None, None),
        ([], None, None),
    ],
)
def test_onednn_is_switched_on_where_tensorflow_leaves_it_off(
    sets, given, wanted, monkeypatch, capsys
):
    monkeypatch.setattr(processor, "describe_processor", lambda: {"instructions": sets})
    monkeypatch.delitem(processor.sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv(processor.ONEDNN, "")  # so that it is put back afterwards
    monkeypatch.delenv(processor.ONEDNN)
    if given:
        monkeypatch.setenv(processor.ONEDNN, given)
    for _ in range(2):
        processor.prefer_onednn()
    assert processor.os.environ.get(processor.ONEDNN) == wanted
    assert capsys.readouterr().out.count(processor.ONEDNN) == (given is None and wanted == "1")


@pytest.mark.parametrize(
    ("sets", "precision", "seconds", "said"),
    [
        (["AVX2", "AVX-512", "bfloat16"], "float32", 0.5, "mixed_bfloat16"),
        (["AVX2", "AVX-512", "bfloat16"], "float32", 1.9, ""),  # as on Intel without AMX
        (["AVX2", "AVX-512", "bfloat16"], "mixed_bfloat16", 0.5, ""),
        (["AVX2", "AVX-512", "bfloat16"], "strict_float32", 0.5, ""),
        (["AVX2", "AVX-512", "VNNI"], "float32", 0.5, ""),
        (["NEON", "bfloat16"], "float32", 0.5, ""),  # never measured
    ],
)
def test_bfloat16_is_named_where_it_is_faster(sets, precision, seconds, said, monkeypatch):
    monkeypatch.setattr(processor, "describe_processor", lambda: {"instructions": sets})
    times = {"float32": 1.0, "bfloat16": seconds}
    monkeypatch.setattr(processor, "time_product", times.get)
    found = processor.suggest_precision(precision)
    assert said in found and bool(found) == bool(said)


def test_products_are_timed_in_both_precisions():
    times = [processor.time_product(x, side=64, rounds=2) for x in ("float32", "bfloat16")]
    assert all(0 < seconds < 60 for seconds in times)
