// Package schema reads profiles and inventories and says what is wrong in them, all at once, with file, line and column.
//
//	d, err := schema.Read("sales.yaml", data)   // is it YAML that we accept
//	err = schema.ValidateProfile(d)             // is it a profile
//	fmt.Println(err)                            // sales.yaml:3:5: users[0].shel: unknown key
//	                                            // hint: did you mean "shell"?
//
// The rules are two JSON Schemas, generated from the resource types and committed. Editors read the same files, by the
// line "# yaml-language-server: $schema=profile.schema.json".
//
// It promises bounded time and memory for any input, and never to reach for the network.
package schema

import (
	_ "embed"
	"strings"
)

//go:generate go run ./internal/generate

//go:embed profile.schema.json
var profileSchema []byte

//go:embed inventory.schema.json
var inventorySchema []byte

// Profile is the JSON Schema of profiles.
func Profile() []byte { return profileSchema }

// Inventory is the JSON Schema of inventories.
func Inventory() []byte { return inventorySchema }

// ExpressionPattern is what a text that stands for a value of another type must match.
const ExpressionPattern = `\$\{`

// OrExpression widens a pattern for texts that are still to be computed.
func OrExpression(pattern string) string { return "(?:" + pattern + ")|" + ExpressionPattern }

// withoutExpression undoes OrExpression.
func withoutExpression(pattern string) string {
	if p, ok := strings.CutSuffix(pattern, ")|"+ExpressionPattern); ok {
		return strings.TrimPrefix(p, "(?:")
	}
	return pattern
}

// Words names JSON Schema's types: "true or false", "a list or text". An expression, and null, aren't named.
func Words(types []string) string {
	var words []string
	for _, t := range types {
		switch t {
		case "string":
			words = append(words, "text")
		case "boolean":
			words = append(words, "true or false")
		case "integer":
			words = append(words, "a whole number")
		case "number":
			words = append(words, "a number")
		case "array":
			words = append(words, "a list")
		case "object":
			words = append(words, "a map")
		}
	}
	return anyOfWords(words)
}

// anyOfWords lists alternatives: "text, a list or a map".
func anyOfWords(words []string) string {
	n := len(words)
	if n < 3 && !(n == 2 && strings.Contains(words[1], " or ")) {
		return strings.Join(words, " or ")
	}
	before, last := strings.Join(words[:n-1], ", "), words[n-1]
	if strings.Contains(last, " or ") {
		return before + ", " + last
	}
	return before + " or " + last
}
