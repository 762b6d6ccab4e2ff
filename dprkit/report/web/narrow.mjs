// Whether the page is as narrow as a phone: then systems stand behind tabs.

import { useEffect, useState } from "./ui.mjs";

const NARROW = matchMedia("screen and (max-width: 760px)");

export function useNarrow() {
  const [narrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const follow = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", follow);
    return () => NARROW.removeEventListener("change", follow);
  }, []);
  return narrow;
}
