"""The parts of a rendered conversation that are trained on.

A template with ``{% generation %}`` marks them itself. For any other template, they are found by rendering turn by turn: a turn of the
assistant begins where the turns before it end with the generation prompt, and ends where the turns up to and including it end. This is
well defined if every such rendering is the beginning of the whole one; otherwise the conversation is refused. A template may write the
generation prompt only after other turns; `first_prompt` then finds the prompt of a first turn of the assistant. `turn_marks` avoids the
renderings of the turns before and up to each turn if the template allows it.
"""

import threading
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from phyagi_assets.declare.corpus_schema import TrainOn
from phyagi_assets.formatting import one_line
from phyagi_assets.tokenizers.chat_template import ChatFormat, ChatTemplate, Messages, Tools
from phyagi_assets.tokenizers.first_prompt import missing_first_prompt
from phyagi_assets.tokenizers.marks import Part

NOTHING_TRAINED = "has no token to train on: the assistant says nothing in what the chat template renders"
_TRIED_TURNS = 64
"""Number of turns that are tried one after another, from the first, to find the turn with which rendering fails."""
_REMEDY = "name a template that marks what the assistant writes by {% generation %} in chat_template"


class RenderingError(ValueError):
    """A conversation cannot be rendered, or has nothing to train on; the message says why, and in which turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A conversation as text."""

    text: str
    parts: tuple[Part, ...]
    """The parts to train on."""
    is_marked: bool
    """Whether the template itself marks the parts, in which case their tokens are those that ``transformers`` finds, by their offsets."""


class Renderer:
    """Renderer of conversations, which finds the parts to train on. Several threads may use it; they render in turn.

    Raises
    ------
    jinja2.TemplateSyntaxError
        A template is not valid.
    """

    def __init__(self, chat: ChatFormat, train_on: TrainOn) -> None:
        self._train_on = train_on
        self._lock = threading.Lock()
        sources = {has_tools: chat.source(has_tools=has_tools) for has_tools in (False, True)}
        compiled = {source: ChatTemplate(source, dict(chat.variables), chat.day) for source in set(sources.values()) if source is not None}
        self._templates = {has_tools: compiled[source] for has_tools, source in sources.items() if source is not None}
        by_turn = [template for template in compiled.values() if train_on != "all" and not template.marks_generation]
        self.uses_marks = train_on != "all" and len(by_turn) < len(compiled)
        """Whether a template itself marks the parts."""
        self._first_prompts = {template: missing_first_prompt(template) for template in by_turn}

    @property
    def adds_first_prompt(self) -> bool:
        """Whether a template leaves out the generation prompt without messages, so that the part of a first turn depends on it."""
        return any(prompt != "" for prompt in self._first_prompts.values())

    def separates_turns(self) -> bool:
        """Return whether all templates write something between turns; otherwise it is unknown where a turn begins."""
        with self._lock:
            return all(template.separates_turns() for template in self._templates.values())

    def render(self, messages: Messages, tools: Tools) -> Rendered:
        """Render a conversation.

        Raises
        ------
        RenderingError
            The template raises an exception, the parts to train on are not well defined, or there are none.
        """
        with self._lock:  # rendering holds the interpreter's lock anyway, and a template has one tracker
            return self._render(messages, tools)

    def _render(self, messages: Messages, tools: Tools) -> Rendered:
        template = self._templates.get(tools is not None)
        if template is None:
            raise RenderingError("the tokenizer has several chat templates, and none for a conversation without tools")
        if self._train_on == "all":
            try:
                text = template.render(messages, tools)
            except Exception as problem:  # templates raise all kinds of exceptions
                raise _failure(template, messages, tools, problem) from None
            return Rendered(text=text, parts=((0, len(text)),), is_marked=False)
        turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
        if not turns:
            raise RenderingError("has no turn of the assistant, and so no token to train on")
        if self._train_on == "last_assistant":
            turns = turns[-1:]
        if template.marks_generation:
            return self._marked(template, messages, tools, turns[0])
        turn_by_turn = _TurnByTurn(template, messages, tools, self._first_prompts[template])
        text, parts = turn_by_turn.text, map(turn_by_turn.part, turns)
        return Rendered(text=text, parts=tuple((start, end) for start, end in parts if end > start), is_marked=False)

    def _marked(self, template: ChatTemplate, messages: Messages, tools: Tools, first: int) -> Rendered:
        try:
            text, parts = template.render_with_parts(messages, tools)
            if self._train_on == "last_assistant" and first:
                _, earlier = template.render_with_parts(messages[:first], tools)
                parts = parts[len(earlier) :]
        except Exception as problem:  # templates raise all kinds of exceptions
            raise _failure(template, messages, tools, problem) from None
        return Rendered(text=text, parts=tuple(parts), is_marked=True)


@lru_cache(maxsize=8)
def renderer_of(chat: ChatFormat, train_on: TrainOn) -> Renderer:
    """Return the renderer for some templates, compiled once per process."""
    return Renderer(chat, train_on)


class _TurnByTurn:
    """A conversation rendered turn by turn, to find the part of each turn of the assistant.

    Parameters
    ----------
    first_prompt
        The generation prompt before a first turn if the template leaves it out without messages, else empty; None if it is unknown.
    """

    def __init__(self, template: ChatTemplate, messages: Messages, tools: Tools, first_prompt: str | None) -> None:
        self._template, self._messages, self._tools, self._first_prompt = template, messages, tools, first_prompt
        try:
            self.text, self._ends = template.render_with_ends(messages, tools)
        except Exception as problem:
            raise _failure(template, messages, tools, problem) from None
        self._prompt = self._prompt_after_any() if self._ends else None

    def _prompt_after_any(self) -> str | None:
        """Return the generation prompt after the first turn, which is the same after every turn; None if it is unknown."""
        assert self._ends
        with suppress(Exception):  # turns are then rendered one by one
            first = self._template.render(self._messages[:1], self._tools, add_generation_prompt=True)
            if first.startswith(self.text[: self._ends[1]]):
                return first[self._ends[1] :]
        return None

    def part(self, turn: int) -> Part:
        """Return the part of a turn of the assistant, which may be empty."""
        is_beginning, has_prompt, start, end = self._by_ends(turn) if turn and self._prompt is not None else self._by_rendering(turn)
        if not is_beginning:
            raise RenderingError(
                f"the chat template renders turn {turn + 1} or an earlier turn differently if other turns follow; {_REMEDY}"
            )
        if not has_prompt:
            raise RenderingError(f"the chat template does not begin turn {turn + 1} with its generation prompt; {_REMEDY}")
        return start, end

    def _by_ends(self, turn: int) -> tuple[bool, bool, int, int]:
        """Return the result of `_by_rendering` without rendering, for a template that renders turn after turn."""
        assert self._ends
        assert self._prompt is not None
        before, after, last = self._ends[turn], self._ends[turn + 1], self.text[self._ends[-1] :]
        start, end = before + len(self._prompt), after + len(last)
        return self.text.startswith(last, after), start <= end and self.text.startswith(self._prompt, before), start, end

    def _by_rendering(self, turn: int) -> tuple[bool, bool, int, int]:
        """Compare renderings: of all turns, of the turns up to this one, and of the earlier turns with the generation prompt.

        Returns
        -------
        tuple
            Whether the first rendering begins with the second, whether the second begins with the third, and the lengths of the third and
            of the second.
        """
        template, messages, tools, text = self._template, self._messages, self._tools, self.text
        try:
            before = template.render(messages[:turn], tools, add_generation_prompt=True)
            after = template.render(messages[: turn + 1], tools) if turn + 1 < len(messages) else text
        except Exception as problem:
            what = f"the chat template cannot render the turns before or up to turn {turn + 1} alone, so the part of that turn is unknown: "
            raise RenderingError(f"{what}{_reason(problem)}; {_REMEDY}") from None
        left_out = "" if turn else self._first_prompt
        if left_out is None:
            return text.startswith(after), False, 0, 0
        before += left_out
        return text.startswith(after), after.startswith(before), len(before), len(after)


def _failure(template: ChatTemplate, messages: Messages, tools: Tools, problem: Exception) -> RenderingError:
    """Return the error for a conversation that a template does not render; it names the first turn with which rendering fails.

    In a long conversation, that turn is found by bisection, because each rendering takes as long as the turns up to there.
    """
    reason = _reason(problem)

    def fails(turn: int) -> bool:
        try:
            template.render(messages[:turn], tools)
        except Exception as earlier:
            return _reason(earlier) == reason
        return False

    last = min(len(messages), _TRIED_TURNS)
    turn = next((turn for turn in range(1, last) if fails(turn)), None)
    if turn is None:
        turn = bisect_left(range(last, len(messages)), True, key=fails) + last
    return RenderingError(f"turn {turn}: the chat template raises: {reason}")


def _reason(problem: Exception) -> str:
    return one_line(problem, 300) or type(problem).__name__
