"""The corpus the built-in model is trained on."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import guide_augment
import guide_corpus
import pytest
from guide_corpus import Question


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return guide_corpus.load_questions()


def test_ids_are_unique_and_are_the_topics(questions: list[Question]) -> None:
    ids = [q.id for q in questions]
    assert not [i for i, n in Counter(ids).items() if n > 1]
    assert set(ids) == set(guide_corpus.load_topics())
    assert len(ids) >= 300


def test_every_answer_holds_its_own_keywords(questions: list[Question]) -> None:
    assert [q.id for q in questions if not guide_corpus.is_right(q.answer, q.keywords)] == []


def test_keywords_tell_answers_apart(questions: list[Question]) -> None:
    # A key word that half of all answers hold would let a wrong answer count as right.
    for question in questions:
        right = [q.id for q in questions if guide_corpus.is_right(q.answer, question.keywords)]
        assert len(right) <= 12, (question.id, right)


def test_answers_are_short_and_plain(questions: list[Question]) -> None:
    for question in questions:
        assert 20 < len(question.answer) < 330, question.id
        assert question.answer[-1] in ".?", question.id
        assert "!" not in question.answer, question.id


def test_each_question_has_several_phrasings(questions: list[Question]) -> None:
    assert [q.id for q in questions if len(set(map(guide_corpus.plain, q.ask))) < 6] == []
    assert [q.id for q in questions if not q.heldout] == []


def test_no_heldout_phrasing_is_among_the_trained_ones(questions: list[Question]) -> None:
    trained = {guide_corpus.plain(text) for q in questions for text in (*q.ask, *q.patterned())}
    heldout = [text for q in questions for text in q.heldout]
    # Patterns may happen on a held-out phrasing; training then leaves it out, hand-written ones must not.
    written = {guide_corpus.plain(text) for q in questions for text in q.ask}
    assert not [text for text in heldout if guide_corpus.plain(text) in written]
    assert sum(guide_corpus.plain(text) in trained for text in heldout) < len(heldout) / 10


def test_no_phrasing_has_two_answers(questions: list[Question]) -> None:
    owner: dict[str, str] = {}
    for question in questions:
        for text in (*question.ask, *question.heldout):
            key = guide_corpus.plain(text)
            assert owner.setdefault(key, question.id) == question.id, text


def test_a_question_with_a_misspelt_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wordings.toml").write_text("[wordings]\n", encoding="utf-8")
    (tmp_path / "a.toml").write_text(
        '[[question]]\nid = "a"\nask = ["a"]\nheldout = ["b"]\nanswer = "c"\nkeyword = ["c"]\n',
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"a\.toml: a: missing \['keywords'\], unknown \['keyword'\]"):
        guide_corpus.load_questions(tmp_path)


def test_variations_are_seeded_and_keep_what_is_asked() -> None:
    text = "what is a tokenizer"
    first = [guide_augment.vary(text, random.Random(5)) for _ in range(3)]
    assert len(set(first)) == 1
    rng = random.Random(5)
    many = [guide_augment.vary(text, rng) for _ in range(200)]
    assert len(set(many)) > 60
    assert sum("token" in variant.lower() for variant in many) > 150
