import pytest

from transfuse_keras.inference import processor

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
