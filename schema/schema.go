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
