// Holds Grafana's dashboards to Grafana's own schema: go run . ../../deploy/grafana/dashboards/*.json
//
// A field that is unknown or of a wrong type, and one that is missing, is told; the program then ends with 1.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	code := 0
	for _, path := range os.Args[1:] {
		raw, err := os.ReadFile(path)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		board := dashboard.Dashboard{}
		// Of no faults it makes an error without words.
		for _, err := range []error{board.UnmarshalJSONStrict(raw), board.Validate()} {
			if err != nil && err.Error() != "" {
				fmt.Printf("%s: %s\n", path, err)
				code = 1
			}
		}
		fmt.Printf("%s: %d panels\n", path, len(board.Panels))
	}
	os.Exit(code)
}
