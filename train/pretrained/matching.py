"""Which tensors of a folder a model reads, all of them accounted for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from train.errors import UserError
from train.pretrained.families import check_fields, family_in, head_of
from train.pretrained.folder import FLOATS, Folder
from train.pretrained.resizing import grids
from train.pretrained.tables import Shape, Tensor, is_named, resolve

InitHead = Literal["load", "new"]
Found = tuple[Tensor, list[str]]  # A tensor, and the names of it and its copies in the folder.

SHOWN = 5  # names of one kind in an error


def match(
    folder: Folder, model: Any, shapes: Mapping[str, Shape], init_head: InitHead
) -> tuple[list[Found], list[str]]:
    """The tensors that a model reads from a folder, and names of those of other heads, which nothing reads.

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
    """Of tensors that nothing reads, those of other heads and poolers, and those that no table knows."""
    entries = [*family.BODY, *(entry for head in family.HEADS.values() for entry in head.entries)]
    tops = [name for entry in entries if entry.part != "body" for name in entry.names]
    known, extra = [], []
    for name in sorted(names):
        bare = name.removeprefix(family.PREFIX)
        if _is_any(tops, bare):
            known.append(name)
        elif not _is_any(family.IGNORED, bare):
            extra.append(name)
    return known, extra


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
    problems = [f"{len(names)} {what}: {_some(names)}" for what, names in told.items() if names]
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


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
