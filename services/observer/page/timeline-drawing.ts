import { drawing } from "./element.ts";
import { milliseconds } from "./figures.ts";
import type { Bar, GroupPlan, MarkPlan, TimelinePlan } from "./timeline-plan.ts";

const LANE_HEIGHT = 18;
const LANE_GAP = 3;
const TITLE_HEIGHT = 20;
const GROUP_HEIGHT = TITLE_HEIGHT + 2 * (LANE_HEIGHT + LANE_GAP) + 6;
/** Numbers of instants that are close stand in rows above each other. */
const MARK_ROWS = 4;
const MARK_ROW_HEIGHT = 14;
const MARK_WIDTH = 16;
const MARKS_HEIGHT = MARK_ROWS * MARK_ROW_HEIGHT + 6;
const AXIS_HEIGHT = 22;
const NARROW = 560;
/** Below this a word does not fit into its bar. */
const LEAST_WORD_WIDTH = 84;

/** The plan as SVG, as wide as it is told. */
export function drawTimeline(plan: TimelinePlan, width: number, summary: string): SVGSVGElement {
  const gutter = width < NARROW ? 58 : 130;
  const scale = (us: number): number =>
    gutter + ((us - plan.fromUs) / (plan.toUs - plan.fromUs)) * (width - gutter - 1);
  const bottom = MARKS_HEIGHT + plan.groups.length * GROUP_HEIGHT;
  const height = bottom + AXIS_HEIGHT;
  const root = drawing("svg", {
    ...{ class: "timeline", role: "img", "aria-label": summary },
    ...{ width, height, viewBox: `0 0 ${width} ${height}` },
  });
  root.append(hatches());
  for (const us of plan.ticksUs) root.append(...tick(scale(us), us, bottom));
  if (plan.blackout !== null) root.append(...blackout(plan.blackout, scale, bottom));
  // Lines of instants go behind what they mark, so that its words stay readable.
  root.append(...drawMarks(plan.marks, scale, bottom));
  plan.groups.forEach((group, index) => {
    root.append(...drawGroup(group, scale, MARKS_HEIGHT + index * GROUP_HEIGHT, gutter));
  });
  return root;
}

function hatches(): SVGDefsElement {
  const pattern = (id: string, rotate: number): SVGPatternElement =>
    drawing(
      "pattern",
      { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${rotate})` },
      drawing("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: id }),
    );
  return drawing(
    "defs",
    {},
    pattern("hatch-blackout", 45),
    pattern("hatch-neither", -45),
    pattern("hatch-both", 0),
  );
}

function tick(x: number, us: number, bottom: number): readonly SVGElement[] {
  const text = `${Number((us / 1_000).toFixed(3))}`;
  return [
    drawing("line", { class: "tick", x1: x, x2: x, y1: MARKS_HEIGHT, y2: bottom }),
    drawing("text", { class: "tick-text", x, y: bottom + 15 }, us === 0 ? "0 ms" : text),
  ];
}

function blackout(bar: Bar, scale: (us: number) => number, bottom: number): readonly SVGElement[] {
  const [left, right] = [scale(bar.fromUs), scale(bar.toUs)];
  const place = { x: left, y: MARKS_HEIGHT, width: Math.max(1, right - left), height: bottom - MARKS_HEIGHT };
  return [
    drawing("rect", { class: "blackout", ...place }),
    drawing("rect", { class: "blackout-hatch", fill: "url(#hatch-blackout)", ...place }),
  ];
}

function drawGroup(
  { gap, lanes, of, title }: GroupPlan,
  scale: (us: number) => number,
  top: number,
  gutter: number,
): readonly SVGElement[] {
  const parts: SVGElement[] = [drawing("text", { class: "group-title", x: 0, y: top + 14 }, title)];
  lanes.forEach(({ bar, host, lane }, index) => {
    const y = top + TITLE_HEIGHT + index * (LANE_HEIGHT + LANE_GAP);
    const room = Math.floor((gutter - 8) / 7);
    const label = gutter < 100 ? host : `${host} ${lane}`;
    const shown = label.length > room ? `${label.slice(0, room - 1)}…` : label;
    parts.push(
      drawing(
        "text",
        { class: "lane-title", x: 0, y: y + 13 },
        shown,
        drawing("title", {}, `${host} (${lane})`),
      ),
      drawing("line", { class: "lane", x1: gutter, x2: "100%", y1: y + LANE_HEIGHT, y2: y + LANE_HEIGHT }),
    );
    if (bar === null) return;
    const [left, right] = [scale(bar.fromUs), scale(bar.toUs)];
    parts.push(
      drawing("rect", {
        class: `bar ${of} ${lane}`,
        x: left,
        y,
        width: Math.max(1, right - left),
        height: LANE_HEIGHT,
      }),
    );
    if (right - left >= LEAST_WORD_WIDTH) {
      const word = of === "cpus" ? "CPUs run" : "registered";
      parts.push(drawing("text", { class: "bar-text", x: left + 6, y: y + 13 }, word));
    }
  });
  if (gap !== null) parts.push(...drawGap(gap, scale, top + TITLE_HEIGHT));
  return parts;
}

function drawGap(
  { fromUs, kind, toUs }: NonNullable<GroupPlan["gap"]>,
  scale: (us: number) => number,
  top: number,
): readonly SVGElement[] {
  const [left, right] = [scale(fromUs), scale(toUs)];
  const place = { x: left, y: top, width: Math.max(1, right - left), height: 2 * LANE_HEIGHT + LANE_GAP };
  const words = `on ${kind}: ${milliseconds(toUs - fromUs)} ms`;
  const rect = drawing("rect", { class: `gap ${kind}`, fill: `url(#hatch-${kind})`, ...place });
  rect.append(drawing("title", {}, words));
  if (right - left < 1.6 * LEAST_WORD_WIDTH) return [rect];
  const y = top + LANE_HEIGHT + LANE_GAP / 2 + 4;
  return [rect, drawing("text", { class: "gap-text", x: (left + right) / 2, y }, words)];
}

function drawMarks(
  marks: readonly MarkPlan[],
  scale: (us: number) => number,
  bottom: number,
): readonly SVGElement[] {
  const endOfRow = Array.from({ length: MARK_ROWS }, () => Number.NEGATIVE_INFINITY);
  return marks.flatMap(({ instant, number }) => {
    const x = scale(instant.atUs);
    const free = endOfRow.findIndex((end) => x - MARK_WIDTH / 2 >= end);
    const row = free === -1 ? number % MARK_ROWS : free;
    endOfRow[row] = x + MARK_WIDTH / 2;
    const y = (MARK_ROWS - row) * MARK_ROW_HEIGHT;
    return [
      drawing("line", { class: `mark ${instant.lane}`, x1: x, x2: x, y1: y, y2: bottom }),
      drawing("text", { class: `mark-text ${instant.lane}`, x, y: y - 3 }, String(number)),
    ];
  });
}
