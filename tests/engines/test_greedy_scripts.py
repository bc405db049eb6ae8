"""Greedy answers in six scripts are llama.cpp's own, token by token, also where a token is half a character."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_greedy import Ask, Messages, Start, reference, said, user

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

TOKENS = 40
SCRIPTS = {
    "Latin": (
        "What is the tallest mountain on Earth?",
        "Écris une phrase courte sur la forêt.",
        "Nenne drei Farben: Grün, Weiß, …",
        "¿Cuántos días tiene una semana?",
    ),
    "Cyrillic": (
        "Какой город является столицей России?",
        "Напиши одно предложение о море.",
        "Що таке мова програмування?",
    ),
    "Greek": ("Ποια είναι η πρωτεύουσα της Ελλάδας;", "Γράψε μια λέξη για τη θάλασσα.", "Πόσο κάνει 2 + 2;"),
    "Arabic": ("ما هي عاصمة مصر؟", "اكتب جملة قصيرة عن البحر.", "پایتخت ایران کجاست؟"),
    "Devanagari": ("भारत की राजधानी क्या है?", "एक छोटा वाक्य लिखो।", "२ + २ कितना होता है?"),
    "Han": (
        "日本の首都はどこですか。",
        "请写一句关于大海的话。",
        "二加二等于几？",
        "「犬」は英語で何ですか。🐕",
    ),
}
# Twenty of them.
CHATS: list[Messages] = [[user(text)] for texts in SCRIPTS.values() for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CHATS)))
async def test_each_is_answered_as_llama_cpp_answers_it(
    start: Start, ask: Ask, smollm2: Path, number: int
) -> None:
    wanted = reference(smollm2, CHATS, TOKENS)
    engine = await start(smollm2, context_length=2048)
    await said(engine, ask, CHATS[number], wanted[number], TOKENS)
