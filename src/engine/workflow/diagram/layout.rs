//! Layout of boxes and arrows in layers from top to bottom (Sugiyama, Tagawa, Toda 1981).
//!
//! 1. Arrows that lead back are reversed, so that all point down.
//! 2. Each box gets the layer below the lowest box that leads to it; every second layer is reserved
//!    for the labels of arrows, so that no texts overlap.
//! 3. The boxes of a layer are ordered for the fewest crossings that a few sweeps find.
//! 4. Each box moves towards the middle of its neighbours, within the limits of its layer.

use std::collections::BTreeSet;

/// Gap between two items of a layer, and between layers.
const GAP: f64 = 28.0;
const LAYER_GAP: f64 = 22.0;
/// Number of sweeps for order and for position; more change nothing visible.
const SWEEPS: usize = 24;

/// Graph to lay out.
pub(super) struct Sizes {
    /// Width and height of each box.
    pub(super) boxes: Vec<(f64, f64)>,
    /// Start, end, and width of the label (0: none).
    pub(super) arrows: Vec<(usize, usize, f64)>,
    /// Height of a label's line.
    pub(super) line: f64,
}

/// Positions of boxes and arrows.
pub(super) struct Laid {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Centre of each box.
    pub(super) boxes: Vec<Point>,
    /// Points of each arrow, from its start to its end, and the centre of its label.
    pub(super) arrows: Vec<(Vec<Point>, Option<Point>)>,
}

/// Distance from the left and from the top.
pub(super) type Point = (f64, f64);

/// A box, or a bend of an arrow.
struct Item {
    width: f64,
    height: f64,
    layer: usize,
    x: f64,
    is_box: bool,
}

/// An arrow as a chain of items from the top to the bottom.
struct Chain {
    items: Vec<usize>,
    reversed: bool,
    labelled: Option<usize>,
}

/// Lays out boxes and arrows.
pub(super) fn lay(sizes: &Sizes) -> Laid {
    let back = back(sizes);
    let layers = layers(sizes, &back);
    let mut items: Vec<Item> = sizes
        .boxes
        .iter()
        .zip(&layers)
        .map(|((width, height), layer)| Item {
            width: *width,
            height: *height,
            layer: *layer,
            x: 0.0,
            is_box: true,
        })
        .collect();
    let chains = chains(sizes, &back, &mut items);
    let mut rows = order(&items, &chains);
    place(&mut items, &chains, &mut rows);
    draw(sizes, &items, &chains, &rows)
}

/// Returns for each arrow whether it closes a loop.
fn back(sizes: &Sizes) -> Vec<bool> {
    let count = sizes.boxes.len();
    let mut back = vec![false; sizes.arrows.len()];
    let mut state = vec![0_u8; count];
    for start in 0..count {
        if state[start] != 0 {
            continue;
        }
        state[start] = 1;
        let mut stack = vec![(start, 0)];
        while let Some((node, at)) = stack.pop() {
            let next = sizes
                .arrows
                .iter()
                .enumerate()
                .skip(at)
                .find(|(_, (from, ..))| *from == node)
                .map(|(number, (_, to, _))| (number, *to));
            let Some((number, to)) = next else {
                state[node] = 2;
                continue;
            };
            stack.push((node, number + 1));
            match state[to] {
                0 => {
                    state[to] = 1;
                    stack.push((to, 0));
                }
                1 => back[number] = true,
                _ => {}
            }
        }
    }
    back
}

/// Returns the upper and the lower box of an arrow after the reversal.
fn down(sizes: &Sizes, back: &[bool], number: usize) -> (usize, usize) {
    let (from, to, _) = sizes.arrows[number];
    if back[number] { (to, from) } else { (from, to) }
}

fn layers(sizes: &Sizes, back: &[bool]) -> Vec<usize> {
    let mut layers = vec![0; sizes.boxes.len()];
    // Each round settles at least one more box; without loops this ends.
    for _ in 0..=sizes.boxes.len() {
        let mut changed = false;
        for number in 0..sizes.arrows.len() {
            let (from, to) = down(sizes, back, number);
            if from != to && layers[to] < layers[from] + 2 {
                layers[to] = layers[from] + 2;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    layers
}

fn chains(sizes: &Sizes, back: &[bool], items: &mut Vec<Item>) -> Vec<Chain> {
    (0..sizes.arrows.len())
        .map(|number| {
            let (from, to) = down(sizes, back, number);
            let (top, bottom) = (items[from].layer, items[to].layer);
            let label_width = sizes.arrows[number].2;
            let mut chain = Chain { items: vec![from], reversed: back[number], labelled: None };
            let label_layer = if back[number] { bottom.saturating_sub(1) } else { top + 1 };
            for layer in top + 1..bottom {
                let is_label = layer == label_layer && label_width > 0.0;
                items.push(Item {
                    width: if is_label { label_width } else { 1.0 },
                    height: if is_label { sizes.line } else { 0.0 },
                    layer,
                    x: 0.0,
                    is_box: false,
                });
                chain.items.push(items.len() - 1);
                if is_label {
                    chain.labelled = Some(items.len() - 1);
                }
            }
            chain.items.push(to);
            chain
        })
        .collect()
}

/// Returns the neighbours of each item above and below.
fn joined(count: usize, chains: &[Chain]) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let (mut above, mut below) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for chain in chains {
        for pair in chain.items.windows(2) {
            below[pair[0]].push(pair[1]);
            above[pair[1]].push(pair[0]);
        }
    }
    (above, below)
}

/// Returns the items of each layer, in an order with few crossings.
fn order(items: &[Item], chains: &[Chain]) -> Vec<Vec<usize>> {
    let (above, below) = joined(items.len(), chains);
    let depth = items.iter().map(|item| item.layer + 1).max().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); depth];
    // First in depth-first order from the top: connected items get adjacent places.
    let mut seen = BTreeSet::new();
    for start in 0..items.len() {
        let mut stack = vec![start];
        while let Some(item) = stack.pop() {
            if seen.insert(item) {
                rows[items[item].layer].push(item);
                stack.extend(below[item].iter().rev());
            }
        }
    }
    let mut best = (crossings(&rows, &below), rows.clone());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let numbers: Vec<usize> =
            if down { (0..depth).collect() } else { (0..depth).rev().collect() };
        for number in numbers {
            let neighbours = if down { &above } else { &below };
            let other = if down { number.checked_sub(1) } else { Some(number + 1) };
            let places = places(other.and_then(|other| rows.get(other)), items.len());
            let mut row: Vec<(f64, usize)> = rows[number]
                .iter()
                .enumerate()
                .map(|(at, item)| (middle(&neighbours[*item], &places, number_of(at)), *item))
                .collect();
            row.sort_by(|one, other| one.0.total_cmp(&other.0));
            rows[number] = row.into_iter().map(|(_, item)| item).collect();
        }
        let crossed = crossings(&rows, &below);
        if crossed < best.0 {
            best = (crossed, rows.clone());
        }
    }
    best.1
}

/// Converts a count to a coordinate; counts are small enough to be exact.
fn number_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Returns the position of each item in a row.
fn places(row: Option<&Vec<usize>>, count: usize) -> Vec<f64> {
    let mut places = vec![0.0; count];
    for (at, item) in row.into_iter().flatten().enumerate() {
        places[*item] = number_of(at);
    }
    places
}

/// Returns the middle of the neighbours, or the current position of an item without neighbours.
fn middle(neighbours: &[usize], places: &[f64], present: f64) -> f64 {
    if neighbours.is_empty() {
        return present;
    }
    let sum: f64 = neighbours.iter().map(|item| places[*item]).sum();
    sum / number_of(neighbours.len())
}

fn crossings(rows: &[Vec<usize>], below: &[Vec<usize>]) -> usize {
    let count = below.len();
    let mut crossed = 0;
    for pair in rows.windows(2) {
        let places = places(Some(&pair[1]), count);
        let ends: Vec<f64> = pair[0]
            .iter()
            .flat_map(|item| {
                let mut ends: Vec<f64> = below[*item].iter().map(|end| places[*end]).collect();
                ends.sort_by(f64::total_cmp);
                ends
            })
            .collect();
        for (at, end) in ends.iter().enumerate() {
            crossed += ends[at + 1..].iter().filter(|later| *later < end).count();
        }
    }
    crossed
}

/// Moves each item towards the middle of its neighbours.
fn place(items: &mut [Item], chains: &[Chain], rows: &mut [Vec<usize>]) {
    let (above, below) = joined(items.len(), chains);
    for row in rows.iter() {
        let mut x = 0.0;
        for item in row {
            items[*item].x = x + items[*item].width / 2.0;
            x += items[*item].width + GAP;
        }
    }
    let depth = rows.len();
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        // The last sweeps consider both directions: neighbours above count as much as those below.
        let both = sweep + 4 >= SWEEPS;
        let numbers: Vec<usize> =
            if down { (0..depth).collect() } else { (0..depth).rev().collect() };
        for number in numbers {
            let wanted: Vec<f64> = rows[number]
                .iter()
                .map(|item| {
                    let neighbours: Vec<usize> = match (both, down) {
                        (true, _) => above[*item].iter().chain(&below[*item]).copied().collect(),
                        (_, true) => above[*item].clone(),
                        (_, false) => below[*item].clone(),
                    };
                    let xs: Vec<f64> = items.iter().map(|item| item.x).collect();
                    middle(&neighbours, &xs, items[*item].x)
                })
                .collect();
            settle(items, &rows[number], &wanted);
        }
    }
    let left = items.iter().map(|item| item.x - item.width / 2.0).fold(f64::INFINITY, f64::min);
    for item in items.iter_mut() {
        item.x -= left;
    }
}

/// Places the items of a row as near to their wanted positions as their order and widths allow: the
/// least sum of squares (pool adjacent violators).
fn settle(items: &mut [Item], row: &[usize], wanted: &[f64]) {
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (at, item) in row.iter().enumerate() {
        if at > 0 {
            let before = row[at - 1];
            offset += f64::midpoint(items[before].width, items[*item].width) + GAP;
        }
        offsets.push(offset);
    }
    // Blocks of touching items: sum of weighted wanted positions, sum of weights, number of items.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (at, item) in row.iter().enumerate() {
        // Bends keep their position more strongly than boxes: long arrows stay straight.
        let weight = if items[*item].is_box { 1.0 } else { 3.0 };
        let mut block = ((wanted[at] - offsets[at]) * weight, weight, 1);
        while let Some(last) = blocks.last().copied() {
            if last.0 / last.1 <= block.0 / block.1 {
                break;
            }
            block = (block.0 + last.0, block.1 + last.1, block.2 + last.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    let mut at = 0;
    for (sum, weight, count) in blocks {
        for _ in 0..count {
            items[row[at]].x = sum / weight + offsets[at];
            at += 1;
        }
    }
}

fn draw(sizes: &Sizes, items: &[Item], chains: &[Chain], rows: &[Vec<usize>]) -> Laid {
    let mut tops = Vec::with_capacity(rows.len());
    let mut y = 0.0;
    for row in rows {
        let height = row.iter().map(|item| items[*item].height).fold(0.0, f64::max);
        tops.push((y, height));
        y += height + LAYER_GAP;
    }
    let middle_of = |item: &Item| tops[item.layer].0 + tops[item.layer].1 / 2.0;
    let arrows = chains
        .iter()
        .map(|chain| {
            let mut points = Vec::new();
            let last = chain.items.len() - 1;
            for (at, number) in chain.items.iter().enumerate() {
                let item = &items[*number];
                let (top, height) = tops[item.layer];
                let half = item.height / 2.0;
                if at == 0 {
                    let x = port(items, chains, *number, chain.items.get(1).copied(), false);
                    points.push((x, middle_of(item) + half));
                    points.push((x, top + height));
                } else if at == last {
                    let x = port(items, chains, *number, chain.items.get(at - 1).copied(), true);
                    points.push((x, top));
                    points.push((x, middle_of(item) - half));
                } else {
                    points.push((item.x, top));
                    points.push((item.x, top + height));
                }
            }
            points.dedup();
            if chain.reversed {
                points.reverse();
            }
            let label = chain.labelled.map(|number| (items[number].x, middle_of(&items[number])));
            (points, label)
        })
        .collect();
    Laid {
        width: items.iter().map(|item| item.x + item.width / 2.0).fold(0.0, f64::max),
        height: (y - LAYER_GAP).max(0.0),
        boxes: items[..sizes.boxes.len()].iter().map(|item| (item.x, middle_of(item))).collect(),
        arrows,
    }
}

/// Returns the point where an arrow meets a box: arrows on one side are in the order of their
/// targets.
fn port(
    items: &[Item],
    chains: &[Chain],
    number: usize,
    other: Option<usize>,
    from_above: bool,
) -> f64 {
    let mut others: Vec<usize> = chains
        .iter()
        .filter_map(|chain| {
            let ends = if from_above {
                (chain.items.last(), chain.items.iter().rev().nth(1))
            } else {
                (chain.items.first(), chain.items.get(1))
            };
            (ends.0 == Some(&number)).then(|| ends.1.copied()).flatten()
        })
        .collect();
    others.sort_by(|one, other| items[*one].x.total_cmp(&items[*other].x).then(one.cmp(other)));
    let place = others.iter().position(|item| Some(*item) == other).unwrap_or(0);
    let room = items[number].width * 0.7;
    let step = (room / number_of(others.len())).min(26.0);
    items[number].x + (number_of(place) - (number_of(others.len()) - 1.0) / 2.0) * step
}
