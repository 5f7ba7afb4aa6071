package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/tutorial.md shows of Go stands in the file that it names, which is compiled; a program that is shown is shown whole.
func TestTutorialShowsWhatIsCompiled(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)(?:<!-- (\\S+) -->\n)?```go\n(.*?)```\n").FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Fatal("docs/tutorial.md shows nothing")
	}
	for _, b := range blocks {
		file, snippet := b[1], b[2]
		if file == "" {
			t.Errorf("no file is named for:\n%s", snippet)
			continue
		}
		text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(file)))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(text), snippet) {
			t.Errorf("docs/tutorial.md differs from %s in:\n%s", file, snippet)
		}
		if strings.Contains(snippet, "func main()") && snippet != string(text) {
			t.Errorf("docs/tutorial.md shows only a part of the program %s", file)
		}
	}
}
