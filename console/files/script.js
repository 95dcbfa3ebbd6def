// The page works without this. It copies and saves a new key, removes it when the
// page is left, and keeps a form from being sent twice.
"use strict";

const secret = document.getElementById("secret");

if (secret) {
	const copied = document.getElementById("copied");
	const copy = document.getElementById("copy");
	const download = document.getElementById("download");
	const actions = document.getElementById("secret-actions");

	actions.hidden = false;

	copy.addEventListener("click", async () => {
		let done = true;
		try {
			await navigator.clipboard.writeText(secret.textContent);
		} catch { // plain HTTP, or not allowed
			getSelection().selectAllChildren(secret);
			done = document.execCommand("copy");
		}
		copied.textContent = done ? copy.dataset.done : copy.dataset.failed;
	});

	download.addEventListener("click", () => {
		const link = document.createElement("a");
		link.href = URL.createObjectURL(new Blob([secret.textContent + "\n"], { type: "text/plain" }));
		link.download = download.dataset.name.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) + ".txt";
		link.click();
		setTimeout(() => URL.revokeObjectURL(link.href), 1000); // it is read after the click
	});

	// A browser may keep the page to go back to. The key is not in what it keeps: not on
	// the page, and not where a button would find it.
	addEventListener("pagehide", () => {
		secret.textContent = "";
		secret.remove();
		actions.remove();
	});
}

for (const form of document.querySelectorAll("form[method=post]")) {
	const button = form.querySelector("button[type=submit]");
	form.addEventListener("submit", () => { button.disabled = true; });
	addEventListener("pageshow", () => { button.disabled = false; });
}

// To choose a day is to choose that the token expires on it.
const day = document.querySelector("input[type=date]");

if (day) {
	day.addEventListener("input", () => { document.getElementById("expiry-custom").checked = true; });
}
