// The pages work without this. It shows times in the reader's zone, copies and saves a new key,
// warns before that key is lost, and spares people mistakes in forms. It touches nothing outside
// of the element of class httpkey. These attributes tell it what to do:
//
//	data-needs-script          is shown, and was hidden
//	data-format                of a time element: date, minute, exact, or relative, which stays
//	data-copy, data-save       of a button: the ID of the element whose text it copies or saves
//	data-done, data-failed     of a button: what the role=status beside it says then
//	data-secret                goes when the page is left
//	data-kept                  of a link: whoever follows it has the key
//	data-zone                  has the word UTC, which becomes the reader's zone
//	data-choose-all            of a checkbox: checks each data-choose; data-chosen gets their number
//	data-find                  of the form that finds the token of a key

const root = document.querySelector(".httpkey") ?? document.body;
const all = selector => [...root.querySelectorAll(selector)];

// What only a script can do is hidden without one.
for (const element of all("[data-needs-script]")) element.hidden = false;

// Times, in the reader's zone and in the language of the page. A reader of English may be British.
const language = root.closest("[lang]")?.lang || undefined;
const locale = navigator.languages.find(l => l === language || l.startsWith(`${language}-`)) ?? language;
const format = options => new Intl.DateTimeFormat(locale, options);
const formats = {
	date: format({ dateStyle: "medium" }),
	minute: format({ dateStyle: "medium", timeStyle: "short" }),
	exact: format({
		year: "numeric", month: "long", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit", timeZoneName: "short",
	}),
};

for (const time of all("time[data-format]")) {
	const at = new Date(time.dateTime);
	time.title = formats.exact.format(at);
	const shown = formats[time.dataset.format]; // none of a relative time, which stays
	if (shown) time.textContent = shown.format(at);
}

// Buttons that copy or save the text of the element that they name.
const say = (button, text) => {
	const status = button.parentElement.querySelector("[role=status]");
	if (status) status.textContent = text;
};

const copy = async element => {
	try {
		await navigator.clipboard.writeText(element.textContent);
		return true;
	} catch { // plain HTTP, or not allowed
		getSelection().selectAllChildren(element);
		return document.execCommand("copy");
	}
};

const save = (text, name) => {
	const link = document.createElement("a");
	link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "text/plain" }));
	link.download = name.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) + ".txt";
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 1000); // it is read after the click
};

for (const button of all("[data-copy]")) {
	button.addEventListener("click", async () => {
		const done = await copy(document.getElementById(button.dataset.copy));
		if (done) keep();
		say(button, done ? button.dataset.done : button.dataset.failed);
	});
}

for (const button of all("[data-save]")) {
	button.addEventListener("click", () => {
		save(document.getElementById(button.dataset.save).textContent, button.dataset.name);
		keep();
	});
}

// A new key is shown once. The browser asks before the page is left, until the key was copied.
const secret = document.getElementById("secret");
const warn = event => event.preventDefault();
const keep = () => removeEventListener("beforeunload", warn);

if (secret) {
	addEventListener("beforeunload", warn);
	root.addEventListener("copy", () => {
		if (getSelection().containsNode(secret, true)) keep();
	});
	for (const link of all("[data-kept]")) link.addEventListener("click", keep);

	// A browser may keep the page to go back to. The key is not in what it keeps: not on the page,
	// and not where a button would find it.
	addEventListener("pagehide", () => {
		for (const element of all("[data-secret]")) element.remove();
	});
}

// A form is sent once, until the page is shown anew.
for (const form of all("form[method=post]")) {
	let sent = false;
	form.addEventListener("submit", event => {
		if (sent) event.preventDefault();
		sent = true;
		form.ariaBusy = true;
	});
	addEventListener("pageshow", () => {
		sent = false;
		form.ariaBusy = null;
	});
}

// To choose a day is to choose that the token expires on it, at its end where the reader is. The form
// tells how many minutes that is ahead of UTC.
const date = root.querySelector("input[type=date]");

if (date) {
	const custom = document.getElementById("expiry-custom");
	const zone = date.form.elements.zone;
	const hint = root.querySelector("[data-zone]");
	const inUTC = hint?.textContent;
	const show = () => {
		const [year, month, day] = date.value.split("-").map(Number);
		const end = date.value ? new Date(year, month - 1, day + 1) : new Date();
		zone.value = date.value ? Math.round((Date.UTC(year, month - 1, day + 1) - end) / 60000) : "";
		const name = formats.exact.formatToParts(end).find(part => part.type === "timeZoneName").value;
		if (hint) hint.textContent = inUTC.replace("UTC", name);
	};
	date.addEventListener("input", () => {
		custom.checked = true;
		show();
	});
	for (const choice of all("input[name=expiry]")) {
		choice.addEventListener("change", () => {
			if (choice !== custom) date.value = "";
			show();
		});
	}
	date.min = new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 10); // today, here
	addEventListener("pageshow", show); // a browser may have filled in the date
}

// One checkbox chooses all tokens of the list.
const chooseAll = root.querySelector("[data-choose-all]");

if (chooseAll) {
	const choices = all("[data-choose]");
	const show = () => {
		const n = choices.filter(choice => choice.checked).length;
		chooseAll.checked = n > 0 && n === choices.length;
		chooseAll.indeterminate = n > 0 && n < choices.length;
		for (const count of all("[data-chosen]")) count.textContent = n ? new Intl.NumberFormat(locale).format(n) : "";
	};
	chooseAll.addEventListener("change", () => {
		for (const choice of choices) choice.checked = chooseAll.checked;
		show();
	});
	for (const choice of choices) choice.addEventListener("change", show);
	addEventListener("pageshow", show);
}

// A whole key must not get into a URL. Whoever types one into the search finds its token by POST.
const search = root.querySelector("form[role=search]");
const find = root.querySelector("[data-find]");

if (search && find) {
	const words = search.querySelector("input[type=search]");
	search.noValidate = true; // the pattern is for a browser without scripts
	search.addEventListener("submit", event => {
		if (!words.validity.patternMismatch) return;
		const [key] = words.value.match(/\b[a-z]\w*_[ks]_[a-z0-9]{33}\b/i) ?? [words.value.trim()];
		event.preventDefault();
		words.value = "";
		find.elements.key.value = key;
		find.requestSubmit();
	});
}
