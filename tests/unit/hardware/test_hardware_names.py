"""Devices by the names that people use: what is clear is taken, what may be two devices names both, what is none is none."""

from __future__ import annotations

from pathlib import Path

import pytest

import simcost
from simcost.errors import SpecError
from simcost.hardware import load, names


@pytest.mark.parametrize(("typed", "profile"), [
    ("h100", "h100"), ("H100", "h100"), ("H100-SXM", "h100"), ("H100 SXM5", "h100"), ("h100_sxm", "h100"), ("h100-80gb", "h100"), ("NVIDIA H100 80GB HBM3", "h100"),
    ("H100-96GB", "h100-96gb"), ("NVIDIA H100 PCIe", "h100-pcie"), ("H100 NVL", "h100-nvl"), ("H200-141GB", "h200"), ("NVIDIA A100-SXM4-80GB", "a100"), ("a100 sxm 40 GB", "a100-40gb"),
    ("A100-PCIE-40GB", "a100-pcie-40gb"), ("MI300", "mi300x"), ("AMD Instinct MI300X", "mi300x"), ("RTX 4090", "rtx-4090"), ("GeForce RTX 4090", "rtx-4090"), ("4090", "rtx-4090"),
    ("GB200 NVL72", "gb200"), ("Trillium", "tpu-v6e"), ("TPU v5e", "tpu-v5e"), ("Gaudi 3", "gaudi3"), ("trn2", "trainium2"),
    ("v100", "v100"), ("Tesla V100-SXM2-32GB", "v100"), ("V100-SXM2-16GB", "v100-16gb"), ("Tesla T4", "t4"), ("A10", "a10"), ("NVIDIA A10G", "a10g"), ("A40", "a40"),
    ("RTX A6000", "rtx-a6000"), ("A6000", "rtx-a6000"), ("RTX 6000 Ada", "rtx-6000-ada"), ("RTX 3090", "rtx-3090"), ("L20", "l20"), ("A800", "a800"), ("A100-40GB PCIe", "a100-pcie-40gb"),
    ("RTX PRO 6000", "rtx-pro-6000"), ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000-ws"), ("DGX Spark", "gb10"), ("MI308X", "mi308x"), ("MI350X", "mi350x"),
    ("NVIDIA H20-3e", "h20-141gb"), ("H20-141GB", "h20-141gb"), ("inf2", "inferentia2"),
])  # fmt: skip
def test_a_clear_name_is_its_profile(typed: str, profile: str) -> None:
    assert names.of(typed) == load.find(typed).parent.name == load.spelled(typed) == profile


@pytest.mark.parametrize(("typed", "among"), [
    ("A100-80GB", ("a100", "a100-pcie")), ("A100-SXM", ("a100", "a100-40gb")), ("NVIDIA A100 SXM4", ("a100", "a100-40gb")), ("TPU", ("tpu-v4", "tpu-v7")), ("RTX", ("rtx-4090", "rtx-5090")),
    ("GH200 grace hopper", ("gh200", "gh200-144gb")),
])  # fmt: skip
def test_a_name_of_several_devices_names_them(typed: str, among: tuple[str, ...]) -> None:
    for read in (names.of, load.find, load.load):
        with pytest.raises(SpecError, match="write one of these names") as error:
            read(typed)
        assert all(f"{one} (" in str(error.value) for one in among)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "typed",
    [
        "MI300A",
        "H100-64GB",
        "H200 NVL",
        "80gb",
        "sxm",
        "gpu",
        "NVIDIA",
        "",
        "l40",
        "a100 tpu",
        "foo/h100",
        "h10",
        "mi250",
    ],
)
def test_a_name_of_no_device_is_none(typed: str) -> None:
    assert names.of(typed) is None


def test_every_title_and_alias_is_its_own_profile() -> None:
    for profile, card in names._cards().items():
        assert names.of(profile) == profile
        assert names.of(card.title) == profile
        assert all(words for words in card.exact)
    said = [words for card in names._cards().values() for words in card.exact]
    assert len(said) == len(set(said))


def test_an_answer_names_the_profile_and_how_the_name_was_read() -> None:
    found, same = simcost.decode("llama-3.1-8b", "H100-SXM"), simcost.decode("llama-3.1-8b", "h100")
    assert found.inputs == same.inputs
    assert found.metrics == same.metrics
    assert found.warnings == ("hw=H100-SXM is read as h100, NVIDIA H100 SXM5 80 GB", *same.warnings)
    assert simcost.decode("llama-3.1-8b", "H100").warnings == same.warnings


def test_a_file_of_that_name_goes_before_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("4090").mkdir()
    text = load.find("l4").read_text(encoding="utf-8")
    Path("4090/profile.toml").write_text(text, encoding="utf-8")
    assert load.find("4090") == Path("4090/profile.toml")
    assert load.spelled("4090") == "4090"


def test_aliases_are_a_list_of_names(tmp_path: Path) -> None:
    text = load.find("l4").read_text(encoding="utf-8")
    path = tmp_path / "profile.toml"
    path.write_text('aliases = "l4-24gb"\n' + text, encoding="utf-8")
    with pytest.raises(SpecError, match="'aliases' must be a list of strings"):
        load.load(str(path))


@pytest.mark.parametrize(("path", "value", "want"), [
    ("memory.bandwidth", "6 tb/s", 6e12), ("memory.bandwidth", "6tb/s", 6e12), ("memory.capacity", "80 gib", 80 * 2.0**30), ("peak.bf16", "989 tflops", 989e12), ("peak.fp8", "2 PFLOPS", 2e15),
    ("compute.boost_clock", "1.98 ghz", 1.98e9), ("links.scaleup.bandwidth", "400 gbit/s", 50e9), ("links.scaleup.bandwidth", "450 GB/s", 450e9), ("assumed.step_overhead", "300 US", 3e-4),
    ("peak.int8", "1979 TOPS", 1979e12), ("peak.fp8", "1979 TFLOPS/s", 1979e12), ("links.scaleout.bandwidth", "400 Gbps", 50e9), ("links.scaleout.bandwidth", "400 gbps", 50e9),
    ("links.scaleout.bandwidth", "50 GBps", 50e9), ("memory.bandwidth", "3.35 TBps", 3.35e12),
])  # fmt: skip
def test_a_unit_is_read_in_any_case_where_that_has_one_meaning(path: str, value: str, want: float) -> None:
    assert load.override(path, value, {}, "toy") == pytest.approx(want, rel=1e-12)
    assert load.override(path, load.respelled(path, value), {}, "toy") == load.override(path, value, {}, "toy")


@pytest.mark.parametrize(("path", "value", "said"), [
    ("memory.bandwidth", "6 Tb/s", "write 6 TB/s for bytes, 6 Tbit/s for bits"), ("links.scaleup.bandwidth", "400 gb/s", "write 400 GB/s for bytes, 400 Gbit/s for bits"),
    ("links.scaleout.bandwidth", "400 Gb/s", "write 400 GB/s for bytes, 400 Gbit/s for bits"), ("power.tdp", "700 mw", "write 700 MW"), ("memory.capacity", "80 Gb", "write 80 GB"),
])  # fmt: skip
def test_a_unit_whose_case_decides_is_refused(path: str, value: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        load.override(path, value, {}, "toy")
    unit = value.split()[1]
    assert (
        str(error.value)
        == f"hw.{path}: upper and lower case of the unit '{unit}' in '{value}' decide its meaning: {said}"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("memory.bandwidth", "6 tbps"),
        ("memory.bandwidth", "6 Tbps"),
        ("power.tdp", "700 bps"),
        ("measurements", "None"),
        ("foo", "6 tb/s"),
        ("memory.bandwidth", "x1.5"),
    ],
)
def test_what_is_no_unit_of_a_key_stays(path: str, value: str) -> None:
    assert load.respelled(path, value) == value


@pytest.mark.parametrize(("path", "value", "near", "said"), [
    ("memory.bandwidth", "6", 4.8e12, "write '6 TB/s'"), ("memory.bandwidth", "6000", 4.8e12, "write '6000 GB/s'"), ("links.scaleup.bandwidth", "900", 450e9, "write '900 GB/s'"),
    ("memory.capacity", "80", 79 * 2.0**30, "write '80 GiB'"), ("peak.bf16", "989", 9e14, "write '989 TFLOP/s'"),
])  # fmt: skip
def test_a_bare_number_is_told_the_unit_that_it_lacks(path: str, value: str, near: float, said: str) -> None:
    with pytest.raises(SpecError) as error:
        load.override(path, value, {path: near}, "toy")
    assert str(error.value) == f"hw.{path}: '{value}' has no unit: {said}"


@pytest.mark.parametrize(("typed", "near"), [("a30", "a40"), ("p100", "v100"), ("h201", "h20")])
def test_the_nearest_name_with_another_number_is_no_suggestion(typed: str, near: str) -> None:
    with pytest.raises(SpecError, match=f"the nearest name, '{near}', is a different device"):
        load.find(typed)
    with pytest.raises(SpecError, match=r"did you mean 'h100-96gb'\?"):
        load.find("h100-96")
