"""The one conversion: move every tensor of a module along the spaces of its axes, whatever the method, family or format."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from modxfer.alignments.alignment_map import IDENTITY, UNASSIGNED, AlignmentMap, SiteMap, SitePair
from modxfer.alignments.layer_maps import LayerMap
from modxfer.alignments.request import AlignmentRequest, RouteUse
from modxfer.architectures import VOCABULARY, Architecture, Direction, Point, Site
from modxfer.converters.combine import combine
from modxfer.converters.gains import check_gains
from modxfer.converters.methods import Axis
from modxfer.converters.module import Array, Module, Piece, Place
from modxfer.converters.products import fit_product
from modxfer.errors import ConversionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion made, and what became of everything.

    Attributes:
        module: The module on the student; its config is still the teacher's.
        dropped: What was left out, and why.
        approximated: What is not exact, and why.
        tensors: Number of tensors made.
    """

    module: Module
    dropped: tuple[str, ...]
    approximated: tuple[str, ...]
    tensors: int


@dataclass(slots=True)
class _Notes:
    """Sentences, each once, in the order in which they came up."""

    dropped: dict[str, None] = field(default_factory=dict)
    approximated: dict[str, None] = field(default_factory=dict)


def request_for(module: Module, layers: LayerMap) -> AlignmentRequest:
    """List the sites that a module needs aligned.

    Args:
        module: The module, on the teacher.
        layers: Which teacher layers feed each student layer.

    Returns:
        The request.
    """
    routes: dict[bool, set[RouteUse]] = {True: set(), False: set()}
    for place, piece in module.pieces.items():
        axes = [axis for part in piece.parts for axis in piece.method.parts[part] if axis is not None]
        directions = {axis.direction for axis in axes} | {axis.site for axis in axes}
        routes[place.is_outside].add(
            RouteUse(
                route=piece.route,
                reads=Direction.READS in directions,
                writes=Direction.WRITES in directions,
                updates=bool(piece.method.update),
            )
        )
    stacks = {place.stack for place in module.pieces if not place.is_outside}
    used = replace(layers, feeds={stack: feeds for stack, feeds in layers.feeds.items() if stack in stacks})
    return AlignmentRequest.of(used, inside=routes[False], outside=routes[True])


def convert_module(
    module: Module,
    *,
    teacher: Architecture,
    student: Architecture,
    layers: LayerMap,
    alignment: AlignmentMap | None,
) -> Conversion:
    """Move a module from its teacher to a student.

    Args:
        module: The module, on the teacher.
        teacher: The teacher's structure.
        student: The student's structure.
        layers: Which teacher layers feed each student layer.
        alignment: The alignment map of the two; None states that all their spaces share their coordinates.

    Returns:
        The module on the student, with an account of what was dropped and approximated.

    Raises:
        ConversionError: nothing would be converted, two spaces differ in width without a map, or a tensor would not be finite.
        AlignmentError: the map was not made for what this module needs.

    Source:
        Klimaszewski et al. 2024, sections 2.1 and 3.2, generalised: every axis goes through the map of its own site.
    """
    notes = _Notes()
    mover = _Mover(teacher=teacher, student=student, alignment=alignment, notes=notes)
    pieces = dict(_convert_layers(module, layers, mover))
    if not pieces and all(not place.is_outside or place.is_head for place in module.pieces):
        raise ConversionError(
            f"The layer map `{layers.mode}` feeds the student from teacher layers that have no piece of this module; it has "
            f"pieces in {', '.join(f'{stack} {layer}' for stack, layer in module.layers())}.",
            do="Choose those with `--layers`.",
        )
    for place, piece in module.pieces.items():
        if place.is_outside and _student_has(place, piece, teacher=teacher, student=student, notes=notes):
            pieces[place] = mover.move(piece, place, teacher_layer=None, student_layer=None)
    pieces = {place: _fit_product(piece, place, student, notes) for place, piece in pieces.items()}
    pieces = {place: _in_dtype_of(piece, place, module) for place, piece in pieces.items()}
    _note_layers(module, layers, notes)
    _check(pieces, student)
    return Conversion(
        module=replace(module, pieces=pieces),
        dropped=tuple(notes.dropped),
        approximated=tuple(notes.approximated),
        tensors=sum(len(piece.parts) for piece in pieces.values()),
    )


def _convert_layers(module: Module, layers: LayerMap, mover: "_Mover") -> Iterator[tuple[Place, Piece]]:
    names = sorted({(place.stack, place.name) for place in module.pieces if not place.is_outside})
    for stack, feeds in layers.feeds.items():
        for student_layer, feed in enumerate(feeds):
            for name in [name for at, name in names if at == stack]:
                place = Place(stack, student_layer, name)
                moved = [
                    (
                        weight,
                        mover.move(piece, place, teacher_layer=teacher_layer, student_layer=student_layer),
                    )
                    for teacher_layer, weight in feed
                    if (piece := module.pieces.get(Place(stack, teacher_layer, name))) is not None
                ]
                if not moved:
                    continue
                if len(moved) < len(feed):
                    mover.notes.approximated[
                        f"{place}: some of its teacher layers have no such piece; averaged over the others"
                    ] = None
                yield (
                    place,
                    combine(
                        moved,
                        place,
                        whole_updates=layers.averages_updates,
                        approximated=mover.notes.approximated,
                    ),
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mover:
    """Moves single pieces through the maps of their sites."""

    teacher: Architecture
    student: Architecture
    alignment: AlignmentMap | None
    notes: _Notes

    def move(self, piece: Piece, place: Place, *, teacher_layer: int | None, student_layer: int | None) -> Piece:
        used = {axis.site for part in piece.parts for axis in piece.method.parts[part] if axis is not None}
        maps = {
            Direction.READS: self._map(piece.route.reads, place.stack, teacher_layer, student_layer),
            Direction.WRITES: self._map(piece.route.writes, place.stack, teacher_layer, student_layer)
            if Direction.WRITES in used
            else IDENTITY,  # gains on what is read: nothing was aligned for what is not written
        }
        self._check_paper(piece, maps, place)
        check_gains(piece, place, teacher=self.teacher, student=self.student)
        with_offsets = _with_offsets(piece, maps[Direction.READS])
        parts = {
            part: self._move_tensor(tensor, piece.method.parts[part], maps, place, part, piece)
            for part, tensor in with_offsets.items()
        }
        _keep_update_size(parts, piece, maps)
        if any(site_map.form == "matrix" for site_map in maps.values()):
            self.notes.approximated[f"{place.name}: moved through dense maps, which are fitted and not exact"] = None
            if piece.method.is_difference:
                self.notes.approximated[f"{place.name}: a dense map spreads a sparse difference over all entries"] = None
            for part in (piece.method.norm_before, piece.method.norm_after):
                if part in parts:
                    self.notes.approximated[f"{place.name}: beside `{part}` constants and sizes are left as they come"] = None
        return replace(piece, parts=parts)

    def _check_paper(self, piece: Piece, maps: Mapping[Direction, SiteMap], place: Place) -> None:
        """Refuse a map of `paper` that was made for a module with other inputs: it writes here as something else reads."""
        sites = [Site(place.stack, None if place.is_outside else place.layer, point) for point in piece.route.points]
        if VOCABULARY in {self.student.dimension(self.student.canonical(site)) for site in sites}:
            return  # token ids and units have no assignment in common
        read, written = (maps[direction].assignment for direction in (Direction.READS, Direction.WRITES))
        if self.alignment is None or self.alignment.aligner != "paper" or read is None or written is None:
            return
        if not np.array_equal(read, written):
            raise ConversionError(
                f"The `paper` map writes at `{place}` as another module reads, and not as this one does.",
                do="Compute a map for this module: leave `--alignment` out.",
            )

    def _map(self, point: Point, stack: str, teacher_layer: int | None, student_layer: int | None) -> SiteMap:
        """Find the map of a point, whose absence means that the spaces are stated to be the same."""
        pair = SitePair(
            self.student.canonical(Site(stack, student_layer, point)),
            self.teacher.canonical(Site(stack, teacher_layer, point)),
        )
        widths = self.student.width(pair.student), self.teacher.width(pair.teacher)
        if self.alignment is None:
            if widths[0] != widths[1]:
                raise ConversionError(
                    f"`identity` needs spaces of equal width, and `{pair.student}` has {widths[0]} units in the student and "
                    f"{widths[1]} in the teacher.",
                    do="Use `--align auto`.",
                )
            return IDENTITY
        if pair not in self.alignment.maps:
            raise ConversionError(
                f"The alignment map has no sites `{pair}`, which this module needs.",
                do="Compute one for this module and these layers: leave `--alignment` out.",
            )
        site_map = self.alignment.maps[pair]
        _check_map(site_map, pair, widths)
        return site_map

    def _check_served(self, axis: Axis, site_map: SiteMap, place: Place, part: str) -> None:
        """Refuse to leave out what nothing could stand for."""
        if site_map.assignment is None or not np.isnan(axis.unserved):
            return
        unserved = int(np.sum(site_map.assignment == UNASSIGNED))
        if unserved:
            raise ConversionError(
                f"`{place}` `{part}` needs something for every unit or token that it {axis.direction}, and "
                f"{unserved} of the student's {len(site_map.assignment)} have none in the teacher.",
                do="Leave that piece out of the module, or choose a student whose units or tokens the teacher has.",
            )

    def _for_axis(self, axis: Axis, site_map: SiteMap, place: Place, part: str, piece: Piece) -> SiteMap:
        """Narrow a map down to the units that an axis indexes, and refuse one under which it would mean something else."""
        if axis.one_to_one and site_map.form == "matrix":
            raise ConversionError(
                f"`{place}` `{part}` {axis.one_to_one}.",
                do="Choose a student whose units are the teacher's (`--align identity`), or use `--align lsa`.",
            )
        if axis.block is None or site_map.assignment is None:
            return site_map
        point = piece.route.reads if axis.site is Direction.READS else piece.route.writes
        teacher_width = self.teacher.width(
            self.teacher.canonical(Site(place.stack, None if place.is_outside else place.layer, point))
        )
        own, served = axis.units(len(site_map.assignment)), axis.units(teacher_width)
        assignment = site_map.assignment[own]
        odd = int(np.sum((assignment != UNASSIGNED) & ((assignment < served.start) | (assignment >= served.stop))))
        if odd:
            raise ConversionError(
                f"`{place}` `{part}` needs blocks of units that stay apart, and {odd} of the student's {len(assignment)} units "
                f"of one are served by teacher units of another.",
                do="Choose a student whose units are the teacher's (`--align identity`), or leave that piece out.",
            )
        narrowed = np.where(assignment == UNASSIGNED, UNASSIGNED, assignment - served.start)
        return replace(site_map, assignment=narrowed, correlation=site_map.correlation[own])

    def _move_tensor(
        self,
        tensor: Array,
        axes: Sequence[Axis | None],
        maps: Mapping[Direction, SiteMap],
        place: Place,
        part: str,
        piece: Piece,
    ) -> Array:
        moved = tensor
        for index, axis in enumerate(axes):
            if axis is None:
                continue
            if axis.stands_for:
                self.notes.approximated[
                    f"{place.name}: `{part}` stands for {axis.stands_for}, and is right as far as the student's are the same"
                ] = None
            site_map = self._for_axis(axis, maps[axis.site], place, part, piece)
            if site_map.form == "identity":
                continue
            self._check_served(axis, site_map, place, part)
            with_constant = not axis.gain and piece.method.offsets.get(part) not in piece.parts
            moved = _along(moved, index, axis, site_map, with_constant=with_constant)
            if axis.gain and site_map.form == "matrix":
                self.notes.approximated[f"{place.name}: `{part}` is averaged over the units that a dense map mixes"] = None
            if site_map.assignment is not None and np.any(site_map.assignment == UNASSIGNED):
                self.notes.approximated[
                    f"{place.name}: student units that no teacher unit serves get 0 (1 in a normalisation's gain)"
                ] = None
        return moved


def _along(tensor: Array, index: int, axis: Axis, site_map: SiteMap, *, with_constant: bool) -> Array:
    """Apply a map along one axis; gathers keep every bit, products stay in float64 until all is done."""
    if site_map.assignment is not None:
        gathered: Array = np.take(tensor, np.maximum(site_map.assignment, 0), axis=index)
        unserved = np.flatnonzero(site_map.assignment == UNASSIGNED)
        if len(unserved):
            gathered[(slice(None),) * index + (unserved,)] = axis.unserved
        return gathered
    matrix = _dense(axis, site_map, with_constant=with_constant)
    wide = tensor.astype(np.float64)
    if axis.gain:
        share = np.square(matrix.astype(np.float64))
        share /= np.maximum(share.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return np.asarray(share @ wide)
    return np.asarray(np.moveaxis(np.tensordot(matrix.astype(np.float64), wide, axes=(1, index)), 0, index))


def _dense(axis: Axis, site_map: SiteMap, *, with_constant: bool) -> np.ndarray:
    """Give the matrix of an axis, shape (student, teacher); updates are read by the inverse of their writing."""
    if axis.of_update:
        return np.asarray(np.linalg.pinv(_writing(site_map).astype(np.float64)).T)
    reading = axis.direction is Direction.READS
    return site_map.reading_matrix(with_constant=with_constant).T if reading else _writing(site_map)


def _writing(site_map: SiteMap) -> np.ndarray:
    if site_map.writing is None:
        raise ConversionError("A site was aligned for reading only.", do="Compute the alignment map for this module.")
    return site_map.writing


def _with_offsets(piece: Piece, reading: SiteMap) -> dict[str, Array]:
    """Let biases take up the constant that a reading map adds, W (R x + c) + b = (W R) x + (W c + b), before they are moved."""
    parts = dict(piece.parts)
    if reading.offset is None or piece.method.norm_before in parts:  # behind a normalisation the constant is another one
        return parts
    for weight, bias in piece.method.offsets.items():
        if weight in parts and bias in parts:
            constant = parts[weight].astype(np.float64) @ reading.offset.astype(np.float64)
            parts[bias] = parts[bias].astype(np.float64) + constant.reshape(parts[bias].shape)
    return parts


def _keep_update_size(parts: dict[str, Array], piece: Piece, maps: Mapping[Direction, SiteMap]) -> None:
    """Rescale an update that went through a dense map so that its size, relative to what it is added to, is the teacher's.

    Sizes are square roots of total variances over the corpus: of up @ down @ x from the covariance of x, where the reading map
    is dense, and else from inner activations of equal size, which a one-to-one map leaves as they were. A non-linearity between
    the two acts alike on both sides, and is left out.
    """
    reading, writing = maps[Direction.READS], maps[Direction.WRITES]
    if not piece.method.update or "matrix" not in (reading.form, writing.form):
        return
    if piece.method.norm_after in parts:  # a normalisation behind the update sets its size
        return
    if reading.form == "matrix" and (reading.teacher_covariance is None or reading.student_covariance is None):
        raise ConversionError(
            "The alignment map was made for a module without updates at this one's sites, so it cannot keep an update's size.",
            do="Compute a map for this module: leave `--alignment` out.",
        )
    down, up = piece.method.update
    teacher = _update_size(piece.parts[down], piece.parts[up], reading.teacher_covariance)
    student = _update_size(parts[down], parts[up], reading.student_covariance)
    if min(teacher, student, writing.teacher_size, writing.student_size) <= 0:
        return
    factor = (teacher / writing.teacher_size) / (student / writing.student_size)
    for part in piece.method.added & parts.keys():
        parts[part] = parts[part].astype(np.float64) * factor


def _update_size(down: Array, up: Array, covariance: np.ndarray | None) -> float:
    wide_down, wide_up = down.astype(np.float64), up.astype(np.float64)
    inner = np.eye(len(wide_down)) if covariance is None else wide_down @ covariance.astype(np.float64) @ wide_down.T
    return float(np.sqrt(max(np.sum((wide_up @ inner) * wide_up), 0.0)))


def _student_has(place: Place, piece: Piece, *, teacher: Architecture, student: Architecture, notes: _Notes) -> bool:
    """Whether the student has the submodule of a piece outside the layers; a head sits in any base model."""
    if not piece.method.has_spaces:
        name = place.name.partition(".")[2]
        notes.dropped[f"{name}: no role of {teacher.model_type} covers it, so nothing says where it belongs"] = None
        return False
    if place.is_head or place.role in student.family.names():
        return True
    if place.role not in student.family.tables:
        notes.dropped[f"{place.role}: {student.model_type} has no such submodule"] = None
        return False
    own, theirs = (base.table_rows(place.role) for base in (teacher, student))
    if own != theirs:
        notes.dropped[f"{place.role}: its rows are {own}, and the student's are {theirs}"] = None
    return own == theirs


def _fit_product(piece: Piece, place: Place, student: Architecture, notes: _Notes) -> Piece:
    """Give the private axes of a product the width that they must have on the student."""
    if not piece.method.product:
        return piece
    site = student.canonical(Site(place.stack, None if place.is_outside else place.layer, piece.route.reads))
    parts, lost = fit_product(piece.parts, piece.method.product, width=student.width(site))
    if lost > 0:
        notes.approximated[
            f"{place.name}: {' and '.join(piece.method.product)} are cut to the student's width; {lost:.1%} of the size "
            "of their product is lost"
        ] = None
    return replace(piece, parts=parts)


def _in_dtype_of(piece: Piece, place: Place, module: Module) -> Piece:
    """Give a piece the precision of the teacher's pieces at that place."""
    like: dict[str, Array] = {}
    for at, item in module.pieces.items():
        if (at.stack, at.name) == (place.stack, place.name):
            like = {**item.parts, **like}
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and `_check` refuses it
        parts = {part: tensor.astype(like[part].dtype, copy=False) for part, tensor in piece.parts.items()}
    return replace(piece, parts=parts)


def _note_layers(module: Module, layers: LayerMap, notes: _Notes) -> None:
    pairs = list(layers.pairs())
    used = {(stack, teacher) for stack, _, teacher in pairs}
    if len(pairs) > len(used):
        notes.approximated["layers: some teacher layers feed several student layers, so their update is made several times"] = (
            None
        )
    unused = [f"{stack} {layer}" for stack, layer in module.layers() if (stack, layer) not in used]
    if unused:
        notes.dropped[f"teacher layers {', '.join(unused)}: the layer map `{layers.mode}` does not use them"] = None


def _check_map(site_map: SiteMap, pair: SitePair, widths: tuple[int, int]) -> None:
    student, teacher = widths
    fits = len(site_map.correlation) == student
    if site_map.assignment is not None:
        fits &= len(site_map.assignment) == student and int(site_map.assignment.max(initial=-1)) < teacher
        fits &= int(site_map.assignment.min(initial=0)) >= UNASSIGNED
    if site_map.reading is not None:
        fits &= site_map.reading.shape == (teacher, student)
    if site_map.writing is not None:
        fits &= site_map.writing.shape == (student, teacher)
    if site_map.form == "identity":
        fits &= student == teacher
    if not fits:
        raise ConversionError(
            f"The alignment map does not fit `{pair}`: the student has {student} units there and the teacher {teacher}.",
            do="Compute one for this pair: leave `--alignment` out.",
        )


def _check(pieces: dict[Place, Piece], student: Architecture) -> None:
    """Hold every tensor against the student's widths, and refuse what is not finite."""
    for place, piece in pieces.items():
        layer = None if place.is_outside else place.layer
        sites = {
            Direction.READS: student.canonical(Site(place.stack, layer, piece.route.reads)),
            Direction.WRITES: student.canonical(Site(place.stack, layer, piece.route.writes)),
        }
        for part, tensor in piece.parts.items():
            for index, axis in enumerate(piece.method.parts[part]):
                if axis is None:
                    continue
                units = axis.units(student.width(sites[axis.site]))
                if tensor.shape[index] != units.stop - units.start:
                    raise ConversionError(
                        f"`{place}` `{part}` would have shape {tensor.shape}, and `{sites[axis.site]}` of the student has "
                        f"{units.stop - units.start} units for it.",
                        do="Check that the alignment map is of this pair.",
                    )
            if not np.isfinite(tensor.astype(np.float64)).all():
                raise ConversionError(
                    f"`{place}` `{part}` would hold values that are not finite.",
                    do="Check the module and the alignment map for extreme values.",
                )
