"""Find the end of every turn in one rendering of a conversation, for chat templates that render turn after turn.

Such a template contains one loop over the messages. An iteration reads only its message and earlier ones. Text before the loop depends only
on the first message. Text after the loop, such as the generation prompt, is constant. The rendering of the first n messages is then the
rendering of all messages up to the end of iteration n, followed by the text after the loop. Any other template is left as it is.
"""

from collections.abc import Collection, Iterator, Sequence

from jinja2 import nodes

from phyagi_assets.tokenizers.marks import TURN_NAME

_MESSAGES, _PROMPT, _LOOP = "messages", "add_generation_prompt", "loop"
_OF_EARLIER_TURNS = frozenset({"first", "index", "index0", "previtem"})
"""Attributes of a loop that do not depend on later iterations."""


def mark_turns(template: nodes.Template) -> bool:
    """Insert marks around the iterations over the messages if a template renders turn after turn; return whether it does.

    Parameters
    ----------
    template
        The parsed template, which is modified.
    """
    place = _place_of_loop(template)
    if place is None:
        return False
    loop, after = template.body[place], template.body[place + 1 :]
    assert isinstance(loop, nodes.For)
    if not (_is_plain(template, loop) and _sees_no_later_turn(template, place) and _is_constant(after, template)):
        return False
    begin, end = (nodes.Output([nodes.EnvironmentAttribute(TURN_NAME)]).set_lineno(loop.lineno) for _ in range(2))
    loop.body.insert(0, begin)
    template.body.insert(place + 1, end)
    return True


def _place_of_loop(template: nodes.Template) -> int | None:
    """Return the index of the loop over the messages in the body of a template; None unless there is exactly one."""
    names = _names_of_messages(template)
    places = [
        place
        for place, node in enumerate(template.body)
        if isinstance(node, nodes.For) and isinstance(node.iter, nodes.Name) and node.iter.name in names
    ]
    return places[0] if len(places) == 1 else None


def _names_of_messages(template: nodes.Template) -> set[str]:
    """Return the variables that hold all messages, or a tail of them."""
    return {_MESSAGES, *(assign.target.name for assign in template.find_all(nodes.Assign) if _is_alias(assign))}  # type: ignore[attr-defined]


def _is_alias(node: nodes.Node) -> bool:
    """Return whether a statement assigns the messages, or a tail of them, to a variable."""
    if not isinstance(node, nodes.Assign) or not isinstance(node.target, nodes.Name):
        return False
    value = node.node
    if isinstance(value, nodes.Getitem) and isinstance(value.arg, nodes.Slice):
        begin = value.arg.start
        if value.arg.stop or value.arg.step or not (isinstance(begin, nodes.Const) and type(begin.value) is int and begin.value >= 0):
            return False
        value = value.node
    return isinstance(value, nodes.Name) and value.name == _MESSAGES


def _is_plain(template: nodes.Template, loop: nodes.For) -> bool:
    """Return whether a loop runs once per message in order, and the template has no blocks, includes or imports."""
    elsewhere = (nodes.Block, nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    if loop.recursive or loop.test or loop.else_ or any(True for _ in template.find_all(elsewhere)):
        return False
    return not any(True for _ in loop.find_all(nodes.Break))


def _sees_no_later_turn(template: nodes.Template, place: int) -> bool:
    """Return whether the text up to a turn depends neither on later turns nor on `add_generation_prompt`."""
    loop = template.body[place]
    assert isinstance(loop, nodes.For)
    names, allowed = _names_of_messages(template), {id(loop.iter)}
    is_renamed = False
    for part in _in_order(template.body[:place]):
        if _is_alias(part):
            allowed.update(id(name) for name in part.find_all(nodes.Name))
            is_renamed |= part.target.name == _MESSAGES  # type: ignore[attr-defined]
        elif not is_renamed:
            allowed.update(_first_messages(part))
    if not is_renamed:
        for part in (*loop.body, *template.body[place + 1 :]):
            allowed.update(_first_messages(part))
    after = {id(name) for part in template.body[place + 1 :] for name in part.find_all(nodes.Name)}
    for name in template.find_all(nodes.Name):
        if (name.name in names and id(name) not in allowed) or (name.name == _PROMPT and id(name) not in after):
            return False
    return not any(_looks_ahead(part) for part in loop.body)


def _in_order(body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
    """Yield statements and conditions in the order of their evaluation."""
    for node in body:
        if isinstance(node, nodes.If):
            yield node.test
            yield from _in_order(node.body)
            yield from _in_order(node.elif_)
            yield from _in_order(node.else_)
        else:
            yield node


def _first_messages(node: nodes.Node) -> Iterator[int]:
    """Yield the `id` of each node, outside macros, that names the messages in an expression for the first message."""
    if isinstance(node, nodes.Macro | nodes.CallBlock):
        return
    if isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name) and node.node.name == _MESSAGES:
        if isinstance(node.arg, nodes.Const) and type(node.arg.value) is int and node.arg.value == 0:
            yield id(node.node)
        return
    for child in node.iter_child_nodes():
        yield from _first_messages(child)


def _looks_ahead(node: nodes.Node) -> bool:
    """Return whether a part of the body of a loop may depend on later iterations."""
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == _LOOP:
        return node.attr not in _OF_EARLIER_TURNS
    if isinstance(node, nodes.Name):
        return node.name == _LOOP
    inner = ("body",) if isinstance(node, nodes.For) else ()  # an inner loop has its own `loop`
    return any(_looks_ahead(child) for child in node.iter_child_nodes(exclude=inner))


def _is_constant(after: Collection[nodes.Node], template: nodes.Template) -> bool:
    """Return whether the statements after the loop call nothing, and read only variables that the template does not set."""
    pure = (
        *(nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem),
        *(nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand, nodes.Test, nodes.Add, nodes.Concat),
    )
    set_here = {name.name for name in template.find_all(nodes.Name) if name.ctx != "load"}
    set_here |= {macro.name for macro in template.find_all(nodes.Macro)} | {node.name for node in template.find_all(nodes.NSRef)}
    for part in after:
        for node in (part, *part.find_all(nodes.Node)):
            if not isinstance(node, pure) or (isinstance(node, nodes.Name) and node.name in set_here):
                return False
    return True
