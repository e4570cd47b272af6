"""The block ``{% generation %}`` of chat templates, compiled so that what is inside is written in place.

``transformers`` compiles the block as a call of a function, which Jinja's sandbox checks each time. Where Jinja writes the text of a
template as it goes, a mark before and a mark after what is inside tell as much, in less time. Elsewhere, as in a macro, the text is put
together before it is written; such templates keep the call.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import jinja2.nodes

Part = tuple[int, int]
"""Start and end of a part of a text, in characters."""


@final
class Mark(str):
    """A piece of a rendered text that writes nothing, and is recognized by its identity."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


BEGIN, END = Mark(), Mark()
"""The marks before and after what is inside a block."""
BEGIN_NAME, END_NAME = "generation_begins", "generation_ends"
"""Names of the attributes of the environment that hold the marks."""


def write_in_place(template: "jinja2.nodes.Template", blocks: Collection["jinja2.nodes.CallBlock"]) -> bool:
    """Replace the calls that stand for the blocks of a template by marks, unless any of them must stay; return whether they were replaced.

    Parameters
    ----------
    template
        The parsed template, which is modified.
    blocks
        The calls that stand for its blocks ``{% generation %}``.
    """
    from jinja2 import nodes, visitor

    own = {id(block) for block in blocks}
    buffered = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Block, nodes.For)
    for outer in template.find_all(buffered):
        if id(outer) in own or (isinstance(outer, nodes.For) and not outer.recursive):
            continue
        if any(id(inner) in own for inner in outer.find_all(nodes.CallBlock)):
            return False
    for block in blocks:  # a function has names and limits that a block does not have
        if any(name.name in ("caller", "varargs", "kwargs") for name in block.find_all(nodes.Name)):
            return False
        if any(True for _ in block.find_all((nodes.Break, nodes.Continue))):
            return False

    class Writer(visitor.NodeTransformer):
        """Replaces each call by what is inside, between two marks."""

        def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802 (Jinja calls it so)
            self.generic_visit(node)
            if id(node) not in own:
                return node
            begin, end = (nodes.Output([nodes.EnvironmentAttribute(name)]) for name in (BEGIN_NAME, END_NAME))
            body = [begin.set_lineno(node.lineno), *node.body, end.set_lineno(node.lineno)]
            return nodes.Scope(body).set_lineno(node.lineno)

    Writer().visit(template)
    return True


def text_and_parts(pieces: Iterable[str]) -> tuple[str, list[Part]]:
    """Return the text of rendered pieces, and the parts between marks.

    A part within a part counts from the start of the outermost one, as ``transformers`` counts, which writes the whole at once.

    Examples
    --------
    >>> text_and_parts(["Hi. ", BEGIN, "One", " two", END, "."])
    ('Hi. One two.', [(4, 11)])
    """
    texts: list[str] = []
    parts: list[Part] = []
    opened: list[int] = []
    written = 0
    for piece in pieces:
        if piece is BEGIN:
            opened.append(written)
        elif piece is END:
            begin = opened.pop()
            start = opened[0] if opened else begin
            parts.append((start, start + written - begin))
        else:
            texts.append(piece)
            written += len(piece)
    return "".join(texts), parts
