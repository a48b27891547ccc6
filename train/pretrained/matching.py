"""Which tensors of a folder a model reads, all of them accounted for."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from train.errors import UserError
from train.pretrained.families import check_fields, family_in, head_of
from train.pretrained.folder import FLOATS, Folder
from train.pretrained.resizing import grids
from train.pretrained.tables import Shape, Tensor, is_named, resolve

InitHead = Literal["load", "new"]
Found = tuple[Tensor, list[str]]  # A tensor, and the names of it and its copies in the folder.

NUMBER = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]{0,8})(?![0-9])")  # in a name, as counting writes it


def match(
    folder: Folder, model: Any, shapes: Mapping[str, Shape], init_head: InitHead
) -> tuple[list[Found], list[str]]:
    """The tensors that a model reads from a folder, and names of other learned ones, which nothing reads.

    Args:
        folder: where they are.
        model: the module.
        shapes: of its variables, by path.
        init_head: whether its head is read.

    Raises:
        UserError: folder and model do not agree; one error names all tensors that are missing, too many or misshapen.
    """
    family = family_in(folder, model)
    check_fields(folder, family, model, with_head=init_head == "load")
    tensors, nowhere = resolve((*family.BODY, *head_of(family, model).entries), shapes)
    if init_head == "new" and all(tensor.entry.part == "body" for tensor in tensors):
        raise UserError("config.init_head: 'new' would do nothing, for this model has no head; leave it out.")
    bare = {name.removeprefix(family.PREFIX): name for name in folder.shapes}
    found = [(tensor, [bare[name] for name in tensor.names if name in bare]) for tensor in tensors]
    found = [(tensor, names) for tensor, names in found if _is_read(tensor, names, init_head)]
    read = {name for _, names in found for name in names}
    counters = {bare.get(tensor.counter) for tensor, _ in found if tensor.counter}
    unread, extra = _sort(family, folder.shapes.keys() - read - counters)
    _refuse_misfits(folder, family.PREFIX, found, nowhere, extra)
    return found, unread


def _is_read(tensor: Tensor, names: Sequence[str], init_head: InitHead) -> bool:
    """A new head is not read; a pooler below it is, if there is one."""
    part = tensor.entry.part
    return init_head == "load" or part == "body" or (part == "pooler" and bool(names))


def _sort(family: Any, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of tensors that nothing reads, the learned ones that the family knows, and those that it does not know."""
    entries = [*family.BODY, *(entry for head in family.HEADS.values() for entry in head.entries)]
    tops = [name for entry in entries if entry.part != "body" for name in entry.names]
    learned = [*tops, *family.UNUSED]
    unread, extra = [], []
    for name in sorted(names):
        bare = name.removeprefix(family.PREFIX)
        if _is_any(learned, bare):
            unread.append(name)
        elif not _is_any(family.BUFFERS, bare):
            extra.append(name)
    return unread, extra


def _refuse_misfits(
    folder: Folder, prefix: str, found: Sequence[Found], nowhere: Sequence[str], extra: Sequence[str]
) -> None:
    """Raises UserError if a tensor is missing or misshapen, a variable of ours is `nowhere`, or a tensor is `extra`."""
    prefix = prefix if any(name.startswith(prefix) for name in folder.shapes) else ""
    missing = [tensor for tensor, names in found if not names]
    misfits = [(tensor, name) for tensor, names in found for name in names if not _fits(folder, tensor, name)]
    told = {
        "missing": [*(tensor.full_name(prefix) for tensor in missing), *nowhere],
        "of another shape or type": [_describe(folder, tensor, name) for tensor, name in misfits],
        "extra": extra,
    }
    problems = [f"{len(names)} {what}: {_fold(names)}" for what, names in told.items() if names]
    if not problems:
        return
    wrong = [*missing, *(tensor for tensor, _ in misfits)]
    is_head = wrong and not nowhere and all(tensor.entry.part != "body" for tensor in wrong)
    hint = ". config.init_head=new starts the head at random" if is_head else ""
    raise UserError(f"config.init_from: {folder.path} has not this model's tensors; {'; '.join(problems)}{hint}.")


def _fits(folder: Folder, tensor: Tensor, name: str) -> bool:
    shape = folder.shapes[name]
    return folder.types[name] in FLOATS and (shape == tensor.their_shape or grids(tensor, shape) is not None)


def _describe(folder: Folder, tensor: Tensor, name: str) -> str:
    there, here = list(folder.shapes[name]), list(tensor.their_shape)
    return f"{name} ({folder.types[name]} {there} there, {here} by config.model)"


def _is_any(templates: Iterable[str], name: str) -> bool:
    return any(is_named(template, name) for template in templates)


def _fold(names: Iterable[str]) -> str:
    """All names, those that count one number up written as one: "h.0…11.ln_1.bias (12)"."""
    left, told = dict.fromkeys(names), []
    while left:
        name = next(iter(left))
        text, run = max(_runs(name, left), key=lambda text_and_run: len(text_and_run[1]))
        told.append(f"{text} ({len(run)})" if len(run) > 1 else name)
        left = {other: None for other in left if other not in run}
    return ", ".join(told)


def _runs(name: str, names: Collection[str]) -> Iterator[tuple[str, set[str]]]:
    """The name alone, and with those that count on from it, up and down, in each of its numbers."""
    yield name, {name}
    for number in NUMBER.finditer(name):
        before, after = name[: number.start()], name[number.end() :]
        first = last = int(number[0])
        while f"{before}{first - 1}{after}" in names:
            first -= 1
        while f"{before}{last + 1}{after}" in names:
            last += 1
        yield f"{before}{first}…{last}{after}", {f"{before}{value}{after}" for value in range(first, last + 1)}
