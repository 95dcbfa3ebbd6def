package legible_test

import (
	"strings"
	"testing"

	"golang.org/x/text/language"

	"github.com/httpkey/httpkey/console/internal/legible"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                         "",
		" \t\n ":                   "",
		"laptop":                   "laptop",
		"  My\tLaptop \r\n 2 ":     "my laptop 2",
		"a\x00b\x7Fc":              "abc",
		"hk_k_…DTZK":               "hk_k_...dtzk",
		"STRASSE":                  "strasse",
		"Straße":                   "strasse",
		"e\u0301":                  "é",
		"É":                        "é",
		"ΣΊΣΥΦΟΣ":                  "σίσυφοσ",
		"Σίσυφος":                  "σίσυφοσ",
		"Ⅳ":                        "iv",
		"ｆｕｌｌ　ｗｉｄｔｈ":               "full width",
		"ﬁne":                      "fine",
		"Ada’s":                    "ada's",
		"Ada´s":                    "ada's",
		"“quoted” „so“ «or so»":    `"quoted" "so" "or so"`,
		"5″ ‹x›":                   `5" 'x'`,
		"＂full＂ ＇width＇":           `"full" 'width'`,
		"a–b—c‐d‑e−f－g﹘h":          "a-b-c-d-e-f-g-h",
		"soft\u00ADhyphen":         "softhyphen",
		"zero\u200Bwidth\uFEFF":    "zerowidth",
		"\u202Egnp.exe":            "gnp.exe",
		"\u0645\u06CC\u200C\u062E": "\u0645\u06CC\u062E",
		"👩\u200D💻":                 "👩💻",
		"❤\uFE0F":                  "❤",
		"\u3164x\u115F\uFFA0":      "x",
		"a\u00A0\u2003b":           "a b",
		"a\u2800b":                 "a b",
		"a\u2028b":                 "a b",
		"e\u200D\u0301":            "é",
		"İSTANBUL ı":               "istanbul i",
		"\u13A0\uAB70":             "\uAB70\uAB70",
		strings.Repeat("Ä ", 200):  strings.TrimSuffix(strings.Repeat("ä ", 200), " "),
	} {
		if got := legible.Fold(s); got != want {
			t.Errorf("%+q folds to %+q, want %+q", s, got, want)
		}
	}
}

// Every character folds to one that stays as it is, also before and after a mark.
func TestFoldingTwiceChangesNothingMore(t *testing.T) {
	t.Parallel()
	for r := range rune(0x2FB00) {
		if 0x20000 <= r && r < 0x2F800 {
			continue // ideographs, which fold to themselves
		}
		for _, s := range []string{string(r), "x" + string(r) + "\u0345", "\u0301" + string(r)} {
			if once := legible.Fold(s); legible.Fold(once) != once {
				t.Errorf("%+q folds to %+q, and that to %+q", s, once, legible.Fold(once))
			}
		}
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"My Laptop", " Straße ", "\u202Ee\u200D\u0301", "ᾳ\u0308", "\xff´ ", "ﷺ", "👩\u200D💻"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := legible.Fold(s)
		if twice := legible.Fold(once); twice != once {
			t.Errorf("%+q folds to %+q, and that to %+q", s, once, twice)
		}
		if strings.TrimSpace(once) != once || strings.Contains(once, "  ") {
			t.Errorf("%+q folds to %+q, with white space left", s, once)
		}
	})
}

// A search folds thousands of labels in one request.
func TestFoldOfASCIIAllocatesLittle(t *testing.T) {
	for s, want := range map[string]float64{"laptop of ada, issues:read": 0, "Laptop  of Ada": 1} {
		if got := testing.AllocsPerRun(100, func() { legible.Fold(s) }); got > want {
			t.Errorf("Fold(%q) allocates %v times, want %v", s, got, want)
		}
	}
}

func TestIsVisible(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"":                   false,
		"\u00A0\u3000":       false,
		"\u200B\u200D\uFEFF": false,
		"\u3164":             false,
		"\u115F\u1160\uFFA0": false,
		"\u2800":             false,
		"\U0001D159":         false,
		"\u0301":             false,
		"\uFE0F":             false,
		"\u034F":             false,
		"\U000E0041":         false,
		"\uE000":             false,
		"\uFFFC":             false,
		"\uFFFF":             false,
		"\x00\x1b":           false,
		"\u202E\u202C":       false,
		"\u3164x":            true,
		"x":                  true,
		"-":                  true,
		"٣":                  true,
		"ключ":               true,
		"می\u200Cخواهم":      true,
		"鍵":                  true,
		"👩\u200D💻":           true,
		"❤\uFE0F":            true,
		"1\uFE0F\u20E3":      true,
		"🇩🇪":                 true,
		"\U0001FADF":         true, // Unicode 16
	} {
		if got := legible.IsVisible(s); got != want {
			t.Errorf("%+q is visible: %v", s, got)
		}
	}
}

func TestIsControlFree(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]struct{ label, text bool }{
		"":                      {true, true},
		"laptop of Ada":         {true, true},
		"two\nlines":            {false, true},
		"two\r\nlines":          {false, true},
		"a\tb":                  {false, true},
		"a\x00b":                {false, false},
		"a\x1b[31mb":            {false, false},
		"a\x7Fb":                {false, false},
		"a\u0085b":              {false, false},
		"a\u2028b":              {false, false},
		"a\u2029b":              {false, false},
		"\u202Egnp.exe":         {false, false},
		"\u202Aa\u202C":         {false, false},
		"\u2067a\u2069":         {false, false},
		"\u200Ea\u200Fb":        {true, true},
		"می\u200Cخواهم":         {true, true},
		"👩\u200D💻":              {true, true},
		"🏴\U000E0067\U000E007F": {true, true},
	} {
		if got := legible.IsControlFree(s, false); got != want.label {
			t.Errorf("%+q is free of controls: %v", s, got)
		}
		if got := legible.IsControlFree(s, true); got != want.text {
			t.Errorf("%+q, with lines, is free of controls: %v", s, got)
		}
	}
}

func TestPluralForm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		language string
		forms    map[int]string
	}{
		{"en", map[int]string{0: "other", 1: "one", 2: "other", -1: "one"}},
		{"de-AT", map[int]string{0: "other", 1: "one", 2: "other"}},
		{"fr", map[int]string{0: "one", 1: "one", 2: "other"}},
		{"pl", map[int]string{1: "one", 2: "few", 5: "many", 22: "few"}},
		{"ar", map[int]string{0: "zero", 1: "one", 2: "two", 3: "few", 11: "many", 100: "other"}},
		{"ja", map[int]string{0: "other", 1: "other", 10_000: "other"}},
		{"und", map[int]string{1: "other"}},
	} {
		for n, want := range tt.forms {
			if got := legible.PluralForm(language.MustParse(tt.language), n); got != want {
				t.Errorf("%s %d is %s, want %s", tt.language, n, got, want)
			}
		}
	}
}

func BenchmarkFold(b *testing.B) {
	for name, s := range map[string]string{"ASCII": "Laptop of Ada, issues:read", "Unicode": "Schlüssel für Adas Laptop"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				legible.Fold(s)
			}
		})
	}
}
