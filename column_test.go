package afterhours_test

import (
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
)

// TestParseColumn shows every type, the default, and fields with odd names.
func TestParseColumn(t *testing.T) {
	for text, want := range map[string]afterhours.Column{
		"user_id=user":              {Name: "user_id", Field: "user", Type: afterhours.String},
		"amount=order.amount:int64": {Name: "amount", Field: "order.amount", Type: afterhours.Int64},
		"a=b:double":                {Name: "a", Field: "b", Type: afterhours.Double},
		"a=b:boolean":               {Name: "a", Field: "b", Type: afterhours.Boolean},
		"a=b:timestamp":             {Name: "a", Field: "b", Type: afterhours.Timestamp},
		"a=b:string":                {Name: "a", Field: "b", Type: afterhours.String},
		"a=b:c:int64":               {Name: "a", Field: "b:c", Type: afterhours.Int64},
		"a=b=c ünï":                 {Name: "a", Field: "b=c ünï", Type: afterhours.String},
		"a23456789_123456789_123456789_123456789_123456789_123456789_123=f": {
			Name: "a23456789_123456789_123456789_123456789_123456789_123456789_123", Field: "f", Type: afterhours.String,
		},
	} {
		c, err := afterhours.ParseColumn(text)
		if err != nil || c != want {
			t.Errorf("%q was read as %+v, want %+v, error %v", text, c, want, err)
		}
		if back, err := afterhours.ParseColumn(c.String()); err != nil || back != c {
			t.Errorf("%q prints as %q, which was read as %+v, error %v", text, c, back, err)
		}
	}
}

// TestParseColumnRefuses shows that the error quotes what was given and says
// what is wrong with it.
func TestParseColumnRefuses(t *testing.T) {
	for text, fault := range map[string]string{
		"":              "want NAME=FIELD[:TYPE]",
		"user":          "want NAME=FIELD[:TYPE]",
		"=user":         "want a lower-case letter",
		"User=user":     "want a lower-case letter",
		"1a=user":       "want a lower-case letter",
		"_a=user":       "want a lower-case letter",
		"é=user":        "want a lower-case letter",
		"a\n=user":      "want a lower-case letter",
		"a-b=user":      "want a lower-case letter",
		"a=":            "has no field",
		"a=:int64":      "has no field",
		"a=b:":          `type "" is none of`,
		"a=b:int":       `type "int" is none of`,
		"a=b:INT64":     `type "INT64" is none of`,
		"event_id=x":    "one of the lake's own",
		"event_time=x":  "one of the lake's own",
		"received_at=x": "one of the lake's own",
		"payload=x":     "one of the lake's own",
		"conflict=x":    "one of the lake's own",
		"event_type=x":  "one of the lake's own",
		"dt=x":          "one of the lake's own",
		"hour=x":        "one of the lake's own",
		"a23456789_123456789_123456789_123456789_123456789_123456789_1234=f": "want a lower-case letter",
	} {
		c, err := afterhours.ParseColumn(text)
		if err == nil || !strings.Contains(err.Error(), fault) || text != "" && !strings.Contains(err.Error(), strings.Split(text, "\n")[0]) {
			t.Errorf("%q was read as %+v, error %v, want one with %q", text, c, err, fault)
		}
	}
}

// TestColumnValidateTellsAll shows that one look is enough to mend a column.
func TestColumnValidateTellsAll(t *testing.T) {
	err := afterhours.Column{}.Validate()
	for _, part := range []string{"name", "field", "type"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not name the %s: %v", part, err)
		}
	}
}

// FuzzParseColumn shows that what is accepted is valid, and is read back from
// what it prints.
func FuzzParseColumn(f *testing.F) {
	f.Add("user_id=user")
	f.Add("a=b:c:int64")
	f.Add("a=:")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := afterhours.ParseColumn(text)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("%q was read as %+v: %v", text, c, err)
		}
		if back, err := afterhours.ParseColumn(c.String()); err != nil || back != c {
			t.Fatalf("%q prints as %q, which was read as %+v, error %v", text, c, back, err)
		}
	})
}
