"""The tokens of prompts as an engine cuts them, and as llama.cpp cuts the same text in one go.

stdin: {"model", "chats": [messages]}. stdout: a JSON list of {"ours", "whole", "back", "control"}: the tokens both
ways, ours turned back to text, and which of ours are control tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from slmdesk.engines.families import form_of_file
from slmdesk.engines.llama.prompts import Prompts
from slmdesk.engines.llama.templates import ChatTemplate
from slmdesk.formats.gguf import read_header
from slmdesk.llama.model import Model
from slmdesk.llama.native import Native
from tests.asking import asking


def main() -> None:
    spec = json.loads(sys.stdin.read())
    native = Native()
    model = Model(native, spec["model"])
    header = read_header(Path(spec["model"]))
    form = None if model.chat_template() else form_of_file(header)
    template = ChatTemplate(
        form.template if form else model.chat_template() or "",
        bos=model.special_text(model.bos),
        eos=model.special_text(model.eos),
        specials=model.special_texts,
    )
    prompts = Prompts(model, template)
    results = []
    for chat in spec["chats"]:
        tokens = prompts.prepare(asking("", messages=chat)).tokens
        text = template.prompt(chat).text
        whole = model.tokenize(text, special=True)
        if model.add_bos and whole[:1] != [model.bos]:
            whole.insert(0, model.bos)
        control = [token for token in tokens if native.token_attributes(model.vocabulary, token) & (1 << 3)]
        back = b"".join(model._read_piece(token, special=True) for token in tokens).decode()
        results.append(
            {
                "ours": tokens,
                "whole": whole,
                "back": back,
                "text": text,
                "control": [model.special_text(token) for token in control],
                "bos": model.special_text(model.bos) if model.add_bos else "",
                "space": model.space_prefix,
            }
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
