"use strict";
// The secret is behind the "#", which browsers never send; it goes into the body only.
const link = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const form = document.getElementById("form");
const button = document.getElementById("submit");
const outcome = document.getElementById("outcome");

// Shows one sentence; the part in brackets leads to the page where to go on.
function say(sentence, address) {
  const [before, label, after] = sentence.split(/[\[\]]/);
  const onward = document.createElement("a");
  onward.href = address;
  onward.textContent = label;
  outcome.replaceChildren(before, onward, after);
}

function explain(status, problem) {
  const page = "/problems/" + encodeURIComponent(problem.code || "internal");
  const fault = (problem.errors || []).find((error) => error.pointer === "/password");
  if (fault) {
    say(`Choose another password, since it ${fault.message} ([why this is asked]).`, page);
  } else if (status === 410) {
    form.hidden = true;
    say("This link was used or is too old: [ask for a new one].", page);
  } else if (status === 429) {
    say("There were too many attempts: wait a minute and [try again].", page);
  } else {
    say(`The password was not set, because ${problem.detail || "of an error"} ([what to do]).`, page);
  }
}

if (!link) {
  form.hidden = true;
  say("This address lacks its secret part: open the link exactly as you received it, or [ask for a new one].", "/problems/link-not-valid");
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  const password = document.getElementById("password").value;
  try {
    const answer = await fetch("/v1/set-password", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ link, password }),
    });
    if (answer.ok) {
      form.hidden = true;
      say("Your password is set: [log in with it].", "/docs#log-in");
    } else {
      explain(answer.status, await answer.json().catch(() => ({})));
    }
  } catch {
    say("The server did not answer: check the connection and press the button again, or [see how to do it without this page].", "/docs/reference#useLink");
  }
  button.disabled = false;
});
