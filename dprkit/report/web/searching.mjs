// The search box: every word must occur in the question, its answers or its id; case and accents do not count.

/** Text as it is compared. */
export function plain(text) {
  return text.toLowerCase().normalize("NFKD").replace(/\p{M}+/gu, "");
}

/** For each question [id, text, answers, …] the text that is searched. */
export function haystacks(questions) {
  return questions.map(([id, text, answers]) => plain([id, text, ...answers].join("\n")));
}

/** A test row -> boolean for what was typed, or null where that is nothing. */
export function searchTest(typed, texts) {
  const words = plain(typed).split(/\s+/).filter(Boolean);
  return words.length ? (row) => words.every((word) => texts[row].includes(word)) : null;
}
