"""Prompts that a model expects before a text, by the text's role; as sentence-transformers declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import AutopruneError, unknown

DECLARED = "config_sentence_transformers.json"
"""The file in which sentence-transformers declares prompts and the similarity."""

ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""The roles of texts in a search → the names of their prompts; the first one that is declared counts."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Prompts by name, and the default prompt.

    Attributes:
        texts: name → the prompt, which is put before a text unchanged.
        default: the name of the prompt for texts without a role; None: they get no prompt.
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
        """The prompt of a role (`ROLES`) or of a name; None: the default prompt.

        Raises:
            AutopruneError: there is no such role and no such prompt.
        """
        role = self.default if role is None else role
        if role is None:
            return ""
        names = (*ROLES.get(role, ()), role)
        prompt = next((self.texts[name] for name in names if name in self.texts), None)
        if prompt is None and role not in ROLES:
            raise unknown("role", role, {*ROLES, *self.texts})
        return prompt or ""

    def before(self, texts: Sequence[str], role: str | None = None) -> list[str]:
        """The texts, each with the prompt of a role before it."""
        prompt = self.of(role)
        return [prompt + text for text in texts] if prompt else list(texts)

    def spread(self, texts: Sequence[str]) -> list[str]:
        """The texts, with the distinct prompts in turn: the default prompt, that of queries, that of documents."""
        distinct = list(dict.fromkeys(self.of(role) for role in (None, *ROLES)))
        return [distinct[at % len(distinct)] + text for at, text in enumerate(texts)]

    def declared(self) -> dict[str, Any]:
        """The content of `DECLARED`. Roles are spelt out: versions of sentence-transformers choose differently."""
        return {
            "prompts": {**self.texts, **{role: self.of(role) for role in ROLES}},
            "default_prompt_name": self.default,
        }

    def describe(self) -> str:
        """The prompts, for people; empty if there are none."""
        described = [f"{prompt!r} before {name}" for name, prompt in self.texts.items() if prompt]
        default = self.of(None)
        return ", ".join([*described, *([f"{default!r} before a text of no role"] if default else [])])


def read_prompts(declared: Mapping[str, Any], where: str) -> Prompts:
    """The prompts that a file declares.

    Raises:
        AutopruneError: they have a wrong type, or the default names no prompt.
    """
    texts = declared.get("prompts") or {}
    default = declared.get("default_prompt_name")
    if not isinstance(texts, Mapping) or not isinstance(default, str | None):
        raise AutopruneError(
            f"task.model: {where}: {DECLARED}: prompts must be an object of strings and "
            f"default_prompt_name a name or null, but they are {texts!r} and {default!r}."
        )
    try:
        return Prompts(texts={name: text or "" for name, text in texts.items()}, default=default)
    except AutopruneError as error:
        raise AutopruneError(f"task.model: {where}: {DECLARED}: {error}") from error
