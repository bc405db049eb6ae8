"""Makes Desk Guide's GGUF from its folder with llama.cpp's own converter.

    python3 packaging/bootstrap.py uv run --group training python packaging/desk_guide/convert.py

The converter comes from the source archive of the llama-cpp-python release the application uses, so both agree.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import guide_corpus
from guide_corpus import GGUF_FILE, RESOURCES
from guide_folder import CHAT_TEMPLATE

RELEASE = "0.3.36"
PROBES = (
    "What is Q4_K_M?",
    "hello",
    "  two  spaces, and a tab\tand a line\nbreak",
    "Grüße, 你好, 🙂 and 3.14159",
    "<|im_start|>user\nwhat is gguf<|im_end|>\n<|im_start|>assistant\n",
)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RESOURCES)
    parser.add_argument("--out", type=Path, default=GGUF_FILE)
    parser.add_argument("--sources", type=Path, help="an unpacked llama-cpp-python source archive")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sources = args.sources or fetch_sources(Path(temporary))
        convert(sources / "vendor" / "llama.cpp", args.folder, args.out)
        check(sources / "vendor" / "llama.cpp", args.folder, args.out)
    sums = write_sums(args.out.parent, args.out, args.folder / "model.safetensors")
    print(f"{args.out}: {args.out.stat().st_size} bytes\n{sums}", end="")


def write_sums(folder: Path, *files: Path) -> str:
    """Writes SHA256SUMS, against which the application checks its built-in model, and returns its text."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")
    return "".join(lines)


def fetch_sources(into: Path) -> Path:
    """Downloads and unpacks the source archive; the folder it holds."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            str(into),
            f"llama-cpp-python=={RELEASE}",
        ],
        check=True,
    )
    archive = next(into.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(into, filter="data")
    return into / archive.name.removesuffix(".tar.gz")


def convert(llama_cpp: Path, folder: Path, out: Path) -> None:
    """Runs the converter; the file appears under its name only when it is whole."""
    metadata = folder / "gguf-metadata.json"
    partial = out.with_suffix(".partial")
    metadata.write_text(
        '{"general.name": "Desk Guide", "general.basename": "desk-guide", "general.license": "apache-2.0", '
        # A tiny model is right or wrong; chance only makes it wrong. Applications that read this key answer greedily.
        '"general.sampling.temp": 0.0, '
        '"general.author": "SLM Desk", "general.description": "The built-in guide of SLM Desk: a tiny model that '
        'answers questions about small language models and the application."}',
        encoding="utf-8",
    )
    try:
        subprocess.run(
            [
                sys.executable,
                str(llama_cpp / "convert_hf_to_gguf.py"),
                str(folder),
                "--outfile",
                str(partial),
                "--outtype",
                "f16",
                "--model-name",
                "Desk Guide",
                "--metadata",
                str(metadata),
            ],
            check=True,
            env={**os.environ, "PYTHONPATH": str(llama_cpp / "gguf-py")},
        )
        partial.replace(out)
    finally:
        metadata.unlink()
        partial.unlink(missing_ok=True)


def check(llama_cpp: Path, folder: Path, out: Path) -> None:
    """Row sizes, names, template, and the same tokens from both files.

    Raises AssertionError where one differs. Tokens are compared only where llama_cpp is installed.
    """
    sys.path.insert(0, str(llama_cpp / "gguf-py"))
    import gguf

    reader: Any = gguf.GGUFReader(out)
    for tensor in reader.tensors:
        if len(tensor.shape) == 2:
            assert tensor.shape[0] % 256 == 0, f"{tensor.name}: rows of {tensor.shape[0]}"
    texts = {
        key: reader.fields[key].contents()
        for key in ("general.name", "general.license", "tokenizer.chat_template")
    }
    assert texts["general.name"] == "Desk Guide", texts
    assert texts["general.license"] == "apache-2.0", texts
    assert texts["tokenizer.chat_template"] == CHAT_TEMPLATE
    check_tokens(folder, out)


def check_tokens(folder: Path, out: Path) -> None:
    """llama.cpp and transformers must split every probe and every question alike."""
    try:
        from llama_cpp import Llama
    except ImportError:
        print("llama_cpp is not installed here: tokens were not compared")
        return
    from transformers import AutoTokenizer

    ours: Any = AutoTokenizer.from_pretrained(folder)
    theirs = Llama(str(out), vocab_only=True, verbose=False)
    asked = [text for q in guide_corpus.load_questions() for text in q.ask]
    for text in (*PROBES, *asked):
        a = ours.encode(text, add_special_tokens=False)
        b = theirs.tokenize(text.encode(), add_bos=False, special=True)
        assert a == b, f"{text!r}: {a} in the folder, {b} in the GGUF"


if __name__ == "__main__":
    main()
