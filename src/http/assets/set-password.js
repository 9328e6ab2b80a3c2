"use strict";
// The secret stands behind the "#", which browsers never send; it goes into the body only.
const link = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const form = document.getElementById("form");
const outcome = document.getElementById("outcome");
if (!link) {
  outcome.textContent = "The address lacks its secret: open the link as it was given to you.";
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = document.getElementById("password").value;
  const answer = await fetch("/v1/set-password", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ link, password }),
  });
  if (answer.ok) {
    form.hidden = true;
    outcome.textContent = "The password is set. You can log in with it now.";
    return;
  }
  const problem = await answer.json();
  const faults = (problem.errors || []).map((error) => error.message);
  outcome.textContent = [problem.detail, ...faults].join(" ");
});
