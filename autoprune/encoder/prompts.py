"""What a model wants before a text, by what the text is for; as sentence-transformers declares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import AutopruneError, unknown

DECLARED = "config_sentence_transformers.json"
"""The file in which sentence-transformers declares prompts and the similarity."""

ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""What a text can be in a search, and the names of prompts that are meant for it, the first that is declared."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Prompts by name, and which of them stands before a text of no role.

    Attributes:
        texts: name → what is put before a text, as it stands.
        default: a name; None: nothing stands before a text of no role.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def __post_init__(self) -> None:
        for name, text in self.texts.items():
            if not isinstance(text, str):
                raise AutopruneError(f"prompts: a prompt is a string, but {name!r} is {text!r}.")
        if self.default is not None and self.default not in (*self.texts, *ROLES):
            raise unknown("default_prompt_name", self.default, self.texts)

    def of(self, role: str | None) -> str:
        """What stands before a text: by its role (`ROLES`), by the name of a prompt, or by default (None).

        Raises:
            AutopruneError: there is no such role and no such prompt.
        """
        role = self.default if role is None else role
        if role is None:
            return ""
        names = (*ROLES.get(role, ()), role)
        found = next((self.texts[name] for name in names if name in self.texts), None)
        if found is None and role not in ROLES:
            raise unknown("role", role, {*ROLES, *self.texts})
        return found or ""

    def before(self, texts: Sequence[str], role: str | None = None) -> list[str]:
        """The texts behind the prompt of a role."""
        prompt = self.of(role)
        return [prompt + text for text in texts] if prompt else list(texts)

    def spread(self, texts: Sequence[str]) -> list[str]:
        """The texts in turn behind each prompt that a text can have: of no role, of a query, of a document."""
        different = list(dict.fromkeys(self.of(role) for role in (None, *ROLES)))
        return [different[at % len(different)] + text for at, text in enumerate(texts)]

    def declared(self) -> dict[str, Any]:
        """For `DECLARED`; roles are spelt out, as versions of it choose differently."""
        return {
            "prompts": {**self.texts, **{role: self.of(role) for role in ROLES}},
            "default_prompt_name": self.default,
        }

    def describe(self) -> str:
        """For people; empty where nothing stands before any text."""
        said = [f"{prompt!r} before {name}" for name, prompt in self.texts.items() if prompt]
        default = self.of(None)
        return ", ".join([*said, *([f"{default!r} before a text of no role"] if default else [])])


def read_prompts(told: Mapping[str, Any], where: str) -> Prompts:
    """What is declared.

    Raises:
        AutopruneError: it cannot be meant.
    """
    texts = told.get("prompts") or {}
    default = told.get("default_prompt_name")
    if not isinstance(texts, Mapping) or not isinstance(default, str | None):
        raise AutopruneError(
            f"task.model: {where}: {DECLARED}: prompts must be an object of strings and "
            f"default_prompt_name a name or null, but they are {texts!r} and {default!r}."
        )
    try:
        return Prompts(texts={name: text or "" for name, text in texts.items()}, default=default)
    except AutopruneError as error:
        raise AutopruneError(f"task.model: {where}: {DECLARED}: {error}") from error
