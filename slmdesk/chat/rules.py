"""How the answers of one conversation are made, beyond its model and its instructions."""

from __future__ import annotations

import json

from slmdesk.inference.asks import JsonSchema, Overflow
from slmdesk.inference.schemas import schema_refused
from slmdesk.inference.wire import Wire


class AnswerRules(Wire, frozen=True, omit_defaults=True):
    """What a person chose for one conversation.

    `overflow`: what is done when it is longer than the context; None follows the settings. `schema`: the JSON Schema
    that answers are held to, as it was typed; empty for none.
    """

    overflow: Overflow | None = None
    schema: str = ""

    def check(self) -> None:
        """Raise `SlmDeskError("schema_invalid")` where no answer can be made so."""
        if self.schema.strip():
            schema_of(self.schema)

    @property
    def shape(self) -> JsonSchema | None:
        """The schema. Raises `SlmDeskError("schema_invalid")`."""
        return schema_of(self.schema) if self.schema.strip() else None


NO_RULES = AnswerRules()


def schema_of(text: str) -> JsonSchema:
    """A JSON Schema from its text. Raises `SlmDeskError("schema_invalid")` that says where it is wrong."""
    try:
        definition = json.loads(text)
    except json.JSONDecodeError as error:
        raise schema_refused(f"Line {error.lineno}, column {error.colno} is no JSON: {error.msg}.") from error
    except RecursionError as error:
        raise schema_refused("It is nested too deeply.") from error
    if not isinstance(definition, dict):
        raise schema_refused("It is no object.")
    schema = JsonSchema(definition)
    schema.check()
    return schema
