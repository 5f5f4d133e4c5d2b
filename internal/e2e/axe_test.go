package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// axe returns the source of axe-core.
func axe(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", ".cache", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		missing(t, "axe-core", "npm install --no-save --prefix .cache axe-core@4.14.1")
	}
	return string(source)
}

// judge runs axe-core on what is shown.
func (v *visitor) judge(where string) {
	v.t.Helper()
	if !v.Is("self.axe") {
		v.Eval(axe(v.t)+"; null", nil)
	}
	// Transitions end before colours are measured.
	v.Wait("still", `document.getAnimations().every(a => a.playState !== 'running')`, `document.getAnimations().map(a => a.animationName ?? a.transitionProperty)`)
	var result struct {
		Passes     int
		Violations []struct {
			ID, Help string
			Nodes    []string
		}
	}
	v.Eval(`axe.run(document, {preload: false, resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}).then(r => ({
		Passes: r.passes.length,
		Violations: r.violations.map(v => ({ID: v.id, Help: v.help, Nodes: v.nodes.slice(0, 6).map(n => n.target.join(' ') + '  ' + n.html.slice(0, 200) + '  ' + n.failureSummary.slice(0, 300))})),
	}))`, &result)
	if result.Passes <= 20 {
		v.t.Errorf("%s: only %d rules were passed: axe-core did not run", where, result.Passes)
	}
	for _, w := range result.Violations {
		v.t.Errorf("%s: %s: %s\n\t%s", where, w.ID, w.Help, strings.Join(w.Nodes, "\n\t"))
	}
}

// No tab breaks a rule of accessibility that a program can check, neither in light nor in dark, nor on a phone, nor with what opens above it.
func TestPageAxe(t *testing.T) {
	t.Parallel()
	axe(t)
	lines := withNewlines(simLines(t, "axe", "seed=13&rate=3000&triggers=20&hits=120000&hot=3:20&dead=1:11", "1s"))
	lines[3] = hostile(t, lines[3], "a key")
	for _, theme := range []string{"light", "dark"} {
		t.Run(theme, func(t *testing.T) {
			t.Parallel()
			s := fed(t)
			s.send(lines...)
			s.has(len(lines) - 1)
			v := s.visit(t, "")
			v.Media("prefers-color-scheme", theme)
			for _, tab := range v.tabs() {
				v.tab(tab)
				v.judge(tab)
			}
			// What opens above the page, and what a reference adds to it.
			v.tab("chamber-1")
			v.Eval(`document.querySelector('main figure[data-plot="efficiency:1"] details').open = true; null`, nil)
			v.Wait("the numbers", `document.querySelector('main figure[data-plot="efficiency:1"] td')`, "")
			v.judge("with a table")
			v.Keys("?")
			v.Wait("help", `document.querySelector('#help').open`, "")
			v.judge("help")
			v.Keys(kb.Escape)
			v.Keys("e")
			v.Wait("the menu", `document.querySelector('[role="menu"]')`, "")
			v.judge("the export menu")
			v.Keys(kb.Escape)
			v.Keys("f")
			v.Wait("the dialog", `document.querySelector('dialog#reference').open`, "")
			v.judge("the reference dialog")
			v.Keys(kb.Escape)
			v.choose("This run")
			v.Click(`[data-action="pause"]`)
			v.phase("paused")
			v.Wait("a comparison", `[...document.querySelectorAll('main .compared')].some(e => e.checkVisibility() && e.textContent)`, "")
			v.judge("paused, with a reference")
			v.Eval(`location.hash = '#tab=glance&wire=3:20'; null`, nil)
			v.Wait("the wire's panel", `document.querySelector('#wire').checkVisibility() && /dtfilter/.test(document.querySelector('#wire').innerText)`, `document.querySelector('#wire').innerText`)
			v.judge("the wire's panel")
			v.Keys(kb.Escape)
			v.Phone()
			for _, tab := range []string{"glance", "chamber-1"} {
				v.tab(tab)
				v.judge("phone, " + tab)
			}
		})
	}
}
