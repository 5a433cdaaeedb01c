"""Where the boxes and lines of a build graph's picture go.

Time runs downwards. A node's row is the longest way from a source to it, its column that of its stage; stages share a
column where they do
not meet in it. Lines are orthogonal and keep to the free space: below a row, in the gap above the next one; past
further rows, straight
down where no box is in the way, else in the gutter between two columns. In a gap and in a gutter every line that would
lie upon another
gets a track of its own, so gaps and gutters are as wide as they must be; lines from one box share theirs.

Nothing here takes longer than sorting the lines. Lengths are in pixels.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from dockc.base.record import Record

if TYPE_CHECKING:
    from dockc.compiler.explain.graph import Graph

NODE_WIDTH, LINE = 260, 15
_NODE_PAD, _BELOW_LABEL = 12, 20
_GAP_X, _LANE_PAD, _LANE_TOP = 20, 14, 10
_MARGIN, _GUTTER, _TRACK = 16, 26, 9
_ABOVE, _UNDER = 12, 16  # free space in a gap before and after its tracks: room for an arrow's head
_LETTER = 8.0  # as wide as those of a lane's title are at most, on the whole
LABEL, TITLE = 32, 32
"""Letters in a line of a node's label and, for one node's width, of a lane's title; letters of middle width."""
LABEL_LINES, TITLE_LINES = 2, 4
_TITLE_LEAST = 14  # characters in a line of a title that makes room for the lines that come in from above
_WORD_LEAST = 6  # likewise, where no word is broken

Point = tuple[float, float]


class Box(Record):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


class Layout(Record):
    """Where everything is.

    Attributes:
        nodes: boxes of the nodes.
        lanes: boxes of the lanes that are shown, by index.
        edges: for each pair of source and reader the corners of its line.
        labels, titles: the lines of text of nodes, and of lanes by index.
        titles_at: where the titles begin, likewise.
        width, height: of the picture.
    """

    nodes: tuple[Box, ...]
    lanes: Mapping[int, Box]
    edges: Mapping[tuple[int, int], tuple[Point, ...]]
    labels: tuple[tuple[str, ...], ...]
    titles: Mapping[int, tuple[str, ...]]
    titles_at: Mapping[int, float]
    width: float
    height: float


_BETWEEN = "/@:,=&"
_WIDTHS = {
    **dict.fromkeys("fijlrtI .,:;'|!()[]/\\-", 65),
    **dict.fromkeys("0123456789abdeghnopquCEFLPSTZ", 106),
    **dict.fromkeys("ABDGHKNOQRUVXY&$+<>=~#^", 125),
    **dict.fromkeys("mwMW@%…", 160),
}
"""Of characters that are not as wide as the middle, hundredths of it: in the widest of the usual fonts of screens."""


def fitting(text: str, width: float) -> int:
    """How many characters of a text have room in so many letters of middle width."""
    left = round(width * 100)
    for n, c in enumerate(text):
        left -= _WIDTHS.get(c, 100 if c.isascii() else 170)
        if left < 0:
            return n
    return len(text)


def wrapped(text: str, width: float, most: int) -> tuple[str, ...]:
    """A text in lines of at most so many letters, broken at spaces where it can be, else after a mark that stands
    between words of paths and names; what does not fit ends in an ellipsis.
    """
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < most:
        room = fitting(rest, width)
        if room == len(rest):
            lines.append(rest)
            return tuple(lines)
        if len(lines) == most - 1:
            lines.append(rest[: fitting(rest, width - _WIDTHS["…"] / 100)].rstrip() + "…")
            return tuple(lines)
        room = max(room, 1)
        at = rest.rfind(" ", room // 2, room + 1)
        if at < 0:
            at = max(rest.rfind(mark, room // 2, room) for mark in _BETWEEN) + 1
        cut = at if at > 0 else room
        lines.append(rest[:cut])
        rest = rest[cut:].lstrip()
    return tuple(lines) or ("",)


def _is_whole(title: str, width: float) -> bool:
    """Whether a title fits in lines of so many letters with every word in one piece."""
    return width >= _WORD_LEAST and " ".join(wrapped(title, width, TITLE_LINES)) == " ".join(title.split())


def layout(graph: Graph) -> Layout:
    """Place nodes, lanes and lines."""
    return _Placing(graph).place()


class _Line:
    """A line between two boxes while its way is looked for.

    Attributes:
        source, target: the nodes.
        enter: where it meets the target, to the right of the middle.
        gutter: the gutter it passes rows in, or None: then it passes them right above the target.
        of_source: it passes them right below the source.
        gutter_track: its track there.
        gap_tracks: its tracks by gap.
    """

    __slots__ = ("enter", "gap_tracks", "gutter", "gutter_track", "of_source", "source", "target")

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.enter = 0.0
        self.gutter: int | None = None
        self.of_source = False
        self.gutter_track = 0
        self.gap_tracks: dict[int, int] = {}


class _Placing:
    """One layout. Mutable: everything it works out."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rows: list[int] = []
        for node in graph.nodes:
            self.rows.append(max((self.rows[i] for i in node.inputs), default=-1) + 1)
        self.count = max(self.rows, default=-1) + 1
        self.places: dict[int, dict[int, list[int]]] = {}
        for i, node in enumerate(graph.nodes):
            self.places.setdefault(node.lane, {}).setdefault(self.rows[i], []).append(i)
        self.labels = tuple(wrapped(node.label, LABEL, LABEL_LINES) for node in graph.nodes)
        self.tracks = self._columns()
        self.column_of = {number: c for c, track in enumerate(self.tracks) for number in track}
        self.wide = [max(len(row) for number in track for row in self.places[number].values()) for track in self.tracks]
        self.titles: dict[int, tuple[str, ...]] = {}
        self.titles_at: dict[int, float] = {}  # from the left end of the lane
        self.gutters = [0] * (len(self.tracks) + 1)
        self.gaps = [0] * (self.count + 1)

    def place(self) -> Layout:
        """Everything."""
        self.x = self._across()
        lines = self._lines()
        self._share_gutters(lines)
        self.x = self._across()
        self._share_gaps(lines)
        self._title_lanes(lines)
        tops, heights = self._down()
        boxes = tuple(
            Box(self.x[i], tops[self.rows[i]], NODE_WIDTH, heights[self.rows[i]]) for i in range(len(self.rows))
        )
        lanes = self._lanes(boxes)
        gutter_x = self._gutter_starts()
        edges = {(one.source, one.target): self._corners(one, boxes, tops, gutter_x) for one in lines}
        right = gutter_x[-1] + self._gutter_width(len(self.tracks)) if self.tracks else _MARGIN
        bottom = max((box.y + box.height for box in lanes.values()), default=0.0)
        titles_at = {number: box.x + self.titles_at[number] for number, box in lanes.items()}
        placed = Layout(boxes, lanes, edges, self.labels, self.titles, titles_at, right + _MARGIN, bottom + _MARGIN)
        return self._below(placed)

    # --- columns ----------------------------------------------------------------------------------------

    def _columns(self) -> list[list[int]]:
        """Lanes by column: one goes below others where there is a free row between them, so that wide graphs stay
        narrow; of several places into that nearest to what it reads.
        """
        column_of: dict[int, int] = {}
        tracks: list[list[int]] = []
        wide: list[int] = []
        spans: list[list[tuple[int, int]]] = []
        for number in range(len(self.graph.lanes)):
            own = self.places.get(number)
            if not own:
                continue
            needed, first, last = max(map(len, own.values())), min(own), max(own)
            read = [
                column_of[lane]
                for row in own.values()
                for i in row
                for lane in (self.graph.nodes[source].lane for source in self.graph.nodes[i].inputs)
                if lane in column_of
            ]
            fit = [
                c
                for c, taken in enumerate(spans)
                if needed <= wide[c] and all(last + 2 <= low or high + 2 <= first for low, high in taken)
            ]
            if fit:
                c = min(fit, key=lambda one: sum(abs(one - other) for other in read))
                tracks[c].append(number)
                spans[c].append((first, last))
            else:
                c = len(tracks)
                tracks.append([number])
                wide.append(needed)
                spans.append([(first, last)])
            column_of[number] = c
        return tracks

    def _gutter_width(self, number: int) -> float:
        tracks = self.gutters[number]
        least = _GUTTER if 0 < number < len(self.tracks) else 0
        return max(least, (tracks + 1) * _TRACK) if tracks else least

    def _lane_width(self, column: int) -> float:
        return self.wide[column] * (NODE_WIDTH + _GAP_X) - _GAP_X + 2 * _LANE_PAD

    def _gutter_starts(self) -> list[float]:
        """The left end of each gutter: before each column, and after the last."""
        x, starts = float(_MARGIN), []
        for c in range(len(self.wide)):
            starts.append(x)
            x += self._gutter_width(c) + self._lane_width(c)
        return [*starts, x]

    def _across(self) -> list[float]:
        """The left end of each node."""
        x = [0.0] * len(self.rows)
        for c, start in enumerate(self._gutter_starts()[:-1]):
            left = start + self._gutter_width(c) + _LANE_PAD
            inner = self.wide[c] * NODE_WIDTH + (self.wide[c] - 1) * _GAP_X
            for number in self.tracks[c]:
                for members in self.places[number].values():
                    used = len(members) * NODE_WIDTH + (len(members) - 1) * _GAP_X
                    for n, i in enumerate(members):
                        x[i] = left + (inner - used) / 2 + n * (NODE_WIDTH + _GAP_X)
        return x

    # --- ways -------------------------------------------------------------------------------------------

    def _lines(self) -> list[_Line]:
        """All lines, with the ends they have and the way they pass rows."""
        rows_in: dict[int, list[int]] = {}
        for i, node in enumerate(self.graph.nodes):
            rows_in.setdefault(self.column_of[node.lane], []).append(self.rows[i])
        for taken in rows_in.values():
            taken.sort()
        lines = []
        for target, node in enumerate(self.graph.nodes):
            own = [_Line(source, target) for source in node.inputs]
            straight = next((one for one in own if self._below_each_other(one) and self._free(rows_in, one)), None)
            others = sorted((one for one in own if one is not straight), key=lambda one: self.x[one.source])
            step = min(18.0, (NODE_WIDTH / 2 - 20) / (len(others) // 2 + 1))
            before = sum(self.x[one.source] < self.x[target] for one in others)
            for n, one in enumerate(others):
                side = n - before if n < before else n - before + 1
                one.enter = side * step
                if self.rows[target] - self.rows[one.source] > 1:
                    self._choose(one, rows_in)
            lines += own
        return lines

    def _below_each_other(self, one: _Line) -> bool:
        return abs(self.x[one.source] - self.x[one.target]) < 1

    def _free(self, rows_in: Mapping[int, list[int]], one: _Line, *, column: int | None = None) -> bool:
        """Whether no box of a column stands in a row between the two."""
        taken = rows_in.get(self._column(one.target) if column is None else column, [])
        at = bisect_right(taken, self.rows[one.source])
        return at >= len(taken) or taken[at] >= self.rows[one.target]

    def _column(self, node: int) -> int:
        return self.column_of[self.graph.nodes[node].lane]

    def _choose(self, one: _Line, rows_in: Mapping[int, list[int]]) -> None:
        """How a line passes the rows between: above its target, below its source, or in the gutter beside the target on
        the source's side.
        """
        here, there = self._column(one.source), self._column(one.target)
        if self._free(rows_in, one):
            return
        if here != there and self._free(rows_in, one, column=here):
            one.of_source = True
            return
        one.gutter = there + 1 if here > there or (here == there and there + 1 < len(self.tracks)) else there

    # --- tracks -----------------------------------------------------------------------------------------

    def _share_gutters(self, lines: Iterable[_Line]) -> None:
        by_gutter: dict[int, list[tuple[float, float, int, _Line]]] = {}
        for one in lines:
            if one.gutter is not None:
                by_gutter.setdefault(one.gutter, []).append(
                    (self.rows[one.source] + 1, self.rows[one.target], one.source, one)
                )
        for number, spans in by_gutter.items():
            found = _coloured(spans)
            self.gutters[number] = max(found.values()) + 1
            for _, _, source, one in spans:
                one.gutter_track = found[source]

    def _share_gaps(self, lines: Iterable[_Line]) -> None:
        gutter_x = self._gutter_starts()
        by_gap: dict[int, list[tuple[float, float, int, _Line]]] = {}
        for one in lines:
            for gap, start, end in self._runs(one, gutter_x):
                if abs(start - end) > 1:
                    by_gap.setdefault(gap, []).append((min(start, end), max(start, end), one.source, one))
        for gap, spans in by_gap.items():
            found = _coloured(spans)
            self.gaps[gap] = max(found.values()) + 1
            for _, _, source, one in spans:
                one.gap_tracks[gap] = found[source]

    def _runs(self, one: _Line, gutter_x: Sequence[float]) -> list[tuple[int, float, float]]:
        """The horizontal runs of a line: the gap (the number of the row below it), from where and to where."""
        start, end = self._leave(one), self._enter(one)
        first, last = self.rows[one.source] + 1, self.rows[one.target]
        if last == first:
            return [(first, start, end)]
        middle = self._passing(one, gutter_x)
        return [(first, start, middle), (last, middle, end)]

    def _leave(self, one: _Line) -> float:
        return self.x[one.source] + NODE_WIDTH / 2

    def _enter(self, one: _Line) -> float:
        return self.x[one.target] + NODE_WIDTH / 2 + one.enter

    def _passing(self, one: _Line, gutter_x: Sequence[float]) -> float:
        if one.gutter is not None:
            return gutter_x[one.gutter] + (one.gutter_track + 1) * _TRACK
        return self._leave(one) if one.of_source else self._enter(one)

    def _title_lanes(self, lines: Iterable[_Line]) -> None:
        """Wrap the titles of the lanes, beside the lines that come in from above where there is room for words."""
        through: dict[int, list[float]] = {}
        for one in lines:
            number = self.graph.nodes[one.target].lane
            if self.rows[one.target] == min(self.places[number]):
                through.setdefault(number, []).append(self._enter(one))
        starts = self._gutter_starts()
        for number, lane in enumerate(self.graph.lanes):
            c = self.column_of.get(number)
            boxes = 1 if c is None else self.wide[c]
            title = f"{lane.title} · result" if lane.result else lane.title
            at, most = float(_LANE_PAD), TITLE * boxes + (boxes - 1) * 4
            if c is not None and number in through:
                left = starts[c] + self._gutter_width(c)
                before = min(through[number]) - left - _LANE_PAD
                after = left + self._lane_width(c) - _LANE_PAD - max(through[number])
                room = int((max(before, after) - _TRACK) // _LETTER)
                if room >= _TITLE_LEAST or _is_whole(title, room):
                    most = min(most, room)
                    at = at if before >= after else max(through[number]) + _TRACK - left
            self.titles[number] = wrapped(title, most, TITLE_LINES)
            self.titles_at[number] = at

    # --- rows -------------------------------------------------------------------------------------------

    def _down(self) -> tuple[list[float], list[float]]:
        """The upper end and the height of each row."""
        heads, starts, ends = [0.0] * (self.count + 1), set(), set()
        for number, own in self.places.items():
            first = min(own)
            starts.add(first)
            ends.add(max(own) + 1)
            heads[first] = max(heads[first], self._head(number))
        heights = [0.0] * self.count
        for i, row in enumerate(self.rows):
            heights[row] = max(heights[row], _NODE_PAD + len(self.labels[i]) * LINE + _BELOW_LABEL)
        tops, y = [], float(_MARGIN)
        for row in range(self.count):
            if row:
                y += _LANE_PAD if row in ends else 0
                y += _ABOVE + self.gaps[row] * _TRACK + _UNDER
            y += heads[row]
            tops.append(y)
            y += heights[row]
        self.heads = heads
        return tops, heights

    def _head(self, number: int) -> float:
        return _LANE_TOP + len(self.titles[number]) * 17 + 8

    def _lanes(self, boxes: Sequence[Box]) -> dict[int, Box]:
        starts = self._gutter_starts()
        lanes = {}
        for number, own in self.places.items():
            c = self.column_of[number]
            top = boxes[own[min(own)][0]].y - self._head(number)
            last = boxes[own[max(own)][0]]
            lanes[number] = Box(
                starts[c] + self._gutter_width(c), top, self._lane_width(c), last.y + last.height + _LANE_PAD - top
            )
        return dict(sorted(lanes.items()))

    def _corners(
        self, one: _Line, boxes: Sequence[Box], tops: Sequence[float], gutter_x: Sequence[float]
    ) -> tuple[Point, ...]:
        above, below = boxes[one.source], boxes[one.target]
        points = [(self._leave(one), above.y + above.height)]
        for gap, start, end in self._runs(one, gutter_x):
            if abs(start - end) > 1:
                # Counted from below: the space of headings and of the ends of lanes lies above the tracks.
                y = tops[gap] - self.heads[gap] - _UNDER - (self.gaps[gap] - 1 - one.gap_tracks[gap]) * _TRACK
                points += [(start, y), (end, y)]
        points.append((self._enter(one), below.y))
        return tuple(points)

    def _below(self, placed: Layout) -> Layout:
        """The same with boxes for stages without nodes, row by row below the others."""
        empty = [number for number, lane in enumerate(self.graph.lanes) if lane.line and number not in placed.lanes]
        if not empty:
            return placed
        wide = NODE_WIDTH + 2 * _LANE_PAD
        in_row = max(int((placed.width - 2 * _MARGIN + _GAP_X) // (wide + _GAP_X)), 2)
        lanes, y, right = dict(placed.lanes), placed.height, placed.width
        titles_at = dict(placed.titles_at)
        for start in range(0, len(empty), in_row):
            members = empty[start : start + in_row]
            height = max(self._head(number) for number in members)
            for column, number in enumerate(members):
                x = _MARGIN + column * (wide + _GAP_X)
                lanes[number] = Box(x, y, wide, height)
                titles_at[number] = x + self.titles_at[number]
                right = max(right, x + wide + _MARGIN)
            y += height + _GAP_X
        return Layout(placed.nodes, lanes, placed.edges, placed.labels, placed.titles, titles_at, right, y)


def _coloured(spans: Sequence[tuple[float, float, int, _Line]]) -> dict[int, int]:
    """By source the track of its spans, so that none lies upon those of another: greedily, by where they begin."""
    whole: dict[int, tuple[float, float]] = {}
    for start, end, source, _ in spans:
        low, high = whole.get(source, (start, end))
        whole[source] = (min(low, start), max(high, end))
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    found: dict[int, int] = {}
    for source, (start, end) in sorted(whole.items(), key=lambda item: (item[1], item[0])):
        while busy and busy[0][0] < start - 1:
            heappush(free, heappop(busy)[1])
        track = heappop(free) if free else len(busy)
        heappush(busy, (end, track))
        found[source] = track
    return found
