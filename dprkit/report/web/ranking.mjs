// What a question's block tells of one ranking, as entries to show: the first ones, and those that matter below them.

/** [{rank, number, score, spans?, gold, matters}] of a ranking {n, s, d?, r?, m?, g?}; [] where a system has none. */
export function entriesOf(ranking) {
  if (!ranking) return [];
  const gold = new Set(ranking.g ?? []);
  const firstAnswer = Math.min(...Object.keys(ranking.m ?? {}).map(Number));
  const scores = scoresOf(ranking);
  return ranking.n.map((number, at) => {
    const rank = ranking.r?.[at] ?? at + 1;
    const isGold = gold.has(rank);
    const matters = isGold || at === firstAnswer;
    return { rank, number, score: scores[at], spans: ranking.m?.[at], gold: isGold, matters };
  });
}

/** With d, scores are whole numbers of 10^-d: the first, and then by how much each is below the one before it. */
function scoresOf({ s = [], d }) {
  if (d === undefined) return s;
  let whole = 0;
  return s.map((one, at) => (whole = at ? whole - one : one) / 10 ** d);
}

/** The first `shown` entries and those below that matter, with {skipped: n, upTo} where ranks in between are folded. */
export function foldedEntries(entries, shown) {
  const folded = [];
  let skipped = 0;
  const flush = (upTo) => {
    if (skipped) folded.push({ skipped, upTo });
    skipped = 0;
  };
  entries.forEach((entry, at) => {
    if (at >= shown && !entry.matters) return void skipped++;
    flush(at + 1);
    folded.push(entry);
  });
  flush(entries.length);
  return folded;
}

/** passage number -> its rank in a ranking. */
export function ranksOf(entries) {
  return new Map(entries.map(({ number, rank }) => [number, rank]));
}
