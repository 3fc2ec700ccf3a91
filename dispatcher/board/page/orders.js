/** Orders to the dispatcher, and what became of them: its own words, said once. */

import { say } from "./notice.js";

/** Wait for the answer to an order and say it, or why it was refused. Gives whether it was done. */
export async function carriedOut(answer) {
  try {
    say(await answer);
    return true;
  } catch (error) {
    say(error.text ?? error.message, { bad: true });
    return false;
  }
}
