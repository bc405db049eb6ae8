"""Presets, naming, and getting a final name."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.placing import move_into_place, sweep
from slmdesk.quantize.protocol import Options
from slmdesk.quantize.request import Request, load_preset, save_preset
from slmdesk.quantize.source import output_name, stem_of
from slmdesk.quantize.store import pace_of


def test_a_preset_says_how_and_not_where(tmp_path: Path) -> None:
    options = Options(output_type="Q8_0", overrides=(("attn_v", "Q6_K"),), pure=True)
    request = Request(
        "me/mine", ("Q4_K_M", "Q2_K"), "/home/me/matrix.gguf", True, output="/home/me", options=options
    )
    save_preset(tmp_path / "p.json", request)
    assert "/home/me" not in (tmp_path / "p.json").read_text()
    loaded = load_preset(tmp_path / "p.json", "you/yours")
    assert loaded == Request("you/yours", ("Q4_K_M", "Q2_K"), "auto", True, options=options)
    (tmp_path / "q.json").write_text('{"kind": "other"}')
    (tmp_path / "r.json").write_text(
        '{"kind": "slmdesk quantize preset", "quantize": {"targets": ["Q8_0"], "measure": "no"}}'
    )
    with pytest.raises(SlmDeskError, match="measure: it must be true or false"):
        load_preset(tmp_path / "r.json", "x")
    for name in ("q.json", "r.json", "absent.json"):
        with pytest.raises(SlmDeskError) as caught:
            load_preset(tmp_path / name, "x")
        assert caught.value.code == "preset_unreadable"


def test_names() -> None:
    assert stem_of(Path("Qwen3-0.6B-F16.gguf"), "F16") == "Qwen3-0.6B"
    assert stem_of(Path("m-BF16-00001-of-00002.gguf"), "BF16") == "m"
    assert stem_of(Path("F16.gguf"), "F16") == "F16"
    assert output_name("{name}.{quant}.gguf", {"name": "m", "quant": "Q8_0"}) == "m.Q8_0"
    for bad in ("{nam}", "", "a/b", ".hidden", "{name", "x" * 300, "{name.__class__}/{quant}", "a\nb"):
        with pytest.raises(SlmDeskError) as caught:
            output_name(bad, {"name": "m", "quant": "Q8_0"})
        assert caught.value.code == "pattern_invalid", bad


def test_nothing_is_replaced_and_a_second_call_ends_the_first(tmp_path: Path) -> None:
    sources = [tmp_path / f"part{n}" for n in range(3)]
    targets = [tmp_path / f"final{n}" for n in range(3)]
    for source in sources:
        source.write_text(source.name)
    targets[2].hardlink_to(sources[2])  # a move that was cut off between its two halves
    sources[1].rename(targets[1])  # one that was done
    move_into_place(sources, targets)
    assert [target.read_text() for target in targets] == ["part0", "part1", "part2"]
    assert not any(source.exists() for source in sources)
    sources[0].write_text("new")
    with pytest.raises(SlmDeskError) as caught:
        move_into_place(sources[:1], targets[:1])
    assert caught.value.code == "output_exists"
    assert targets[0].read_text() == "part0"


def test_only_what_ended_jobs_left_is_swept(tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    for folder in (out / ".slmdesk-quantize-old", out / ".slmdesk-quantize-now", kept / "old", kept / "now"):
        folder.mkdir(parents=True)
        (folder / "x").write_text("x")
    (out / "model.gguf").write_text("x")
    sweep(out, kept, {"now"})
    assert sorted(path.name for path in out.iterdir()) == [".slmdesk-quantize-now", "model.gguf"]
    assert [path.name for path in kept.iterdir()] == ["now"]


def test_pace_follows_what_steps_took() -> None:
    one = pace_of([(10.0, 8.0, 16.6)])
    assert one.seconds(8.0) == pytest.approx(16.6, rel=0.05)
    assert one.error == pytest.approx(6.6 / 16.6)
    line = pace_of([(0, reckoned, 0.5 + 3 * reckoned) for reckoned in (1.0, 2.0, 4.0)])
    assert line.seconds(10) == pytest.approx(30.5)
    assert line.error is None
    tiny = pace_of([(0.6, 0.001, 1.4), (0.6, 0.001, 1.2)])
    assert tiny.seconds(0.001) == pytest.approx(1.3, rel=0.01)
