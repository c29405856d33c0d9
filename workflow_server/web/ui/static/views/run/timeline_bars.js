// The bars of a timeline: each kind has a colour, and a form by which it is known without it.

export function line(context, x, y, toX, toY) {
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(toX, toY);
  context.stroke();
}

export function hatch(context, x, y, width, height, colour, apart) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = x - height; at < x + width; at += apart) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

export function label(context, text, x, y, colour, colours, size = 11) {
  context.font = `${size}px ${colours.font}`;
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

export function outline(context, x, y, width, height, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.strokeRect(x - 2, y - 2, width + 4, height + 4);
}

function box(context, x, y, width, height, fill, stroke, dash = []) {
  if (width < 6 && fill !== null) {
    context.fillStyle = stroke ?? fill;
    context.fillRect(x, y, width, height);
    return;
  }
  const radius = Math.min(3, width / 2, height / 2);
  context.beginPath();
  context.roundRect(x + 0.5, y + 0.5, Math.max(1, width - 1), height - 1, radius);
  if (fill !== null) {
    context.fillStyle = fill;
    context.fill();
  }
  if (stroke === null) return;
  context.strokeStyle = stroke;
  context.setLineDash(dash);
  context.lineWidth = 1.2;
  context.stroke();
  context.setLineDash([]);
}

/** What draws each kind: filled, striped, hollow, dashed, or with a sign. */
export const PAINT = {
  done: (context, x, y, width, height, colours) => box(context, x, y, width, height, colours.done, null),
  running(context, x, y, width, height, colours) {
    box(context, x, y, width, height, colours["running-soft"], colours.running);
    if (width > 6) hatch(context, x + 1, y + 1, width - 2, height - 2, colours.running, 5);
  },
  failed(context, x, y, width, height, colours) {
    box(context, x, y, width, height, colours.failed, colours.failed);
    if (width < 14 || height < 9) return;
    context.strokeStyle = colours.panel;
    const [middle, centre] = [x + width / 2, y + height / 2];
    context.lineWidth = 1.8;
    context.beginPath();
    for (const way of [-1, 1]) {
      context.moveTo(middle - 3, centre - 3 * way);
      context.lineTo(middle + 3, centre + 3 * way);
    }
    context.stroke();
  },
  retried: (context, x, y, width, height, colours) => box(context, x, y, width, height, colours["failed-soft"], colours.failed),
  interrupted: (context, x, y, width, height, colours) => box(context, x, y, width, height, null, colours.failed, [3, 2]),
  cancelled: (context, x, y, width, height, colours) => box(context, x, y, width, height, colours.sunken, colours.idle),
  waiting: (context, x, y, width, height, colours) => box(context, x, y, width, height, colours.waiting, null),
  wait(context, x, y, width, height, colours, item) {
    box(context, x, y, width, height, colours["waiting-soft"], colours.waiting);
    const text = item.event === null ? "waits" : `waits for ${item.event}`;
    context.font = `11px ${colours.font}`;
    if (height >= 12 && width > context.measureText(text).width + 12) {
      label(context, text, Math.max(x, 0) + 6, y + height / 2 + 0.5, colours.waiting, colours);
    }
  },
  retry(context, x, y, width, height, colours) {
    context.strokeStyle = colours.failed;
    context.setLineDash([1.5, 3]);
    line(context, x, y + height / 2, x + width, y + height / 2);
    context.setLineDash([]);
  },
};
