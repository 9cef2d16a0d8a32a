package configs

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/viper"
)

// EnvPrefix starts the name of every environment variable that overrides a setting.
const EnvPrefix = "GEOGATE"

// EnvName is the variable that overrides the setting at path: policy.default is GEOGATE_POLICY_DEFAULT.
// Settings inside lists have none.
func EnvName(path string) string {
	return EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// bindEnv lets the environment override every setting outside a list, and checks what is set. Variables
// that name no setting are left alone: orchestrators set some of their own (GEOGATE_PORT).
func (s *strict) bindEnv(v *viper.Viper) error {
	var err error
	walk(topologyType, "", func(path string, t reflect.Type) {
		if strings.Contains(path, "[]") || t.Kind() == reflect.Struct || t.Kind() == reflect.Slice {
			return
		}
		name := EnvName(path)
		text, ok := os.LookupEnv(name)
		if !ok || text == "" {
			return
		}
		s.at[path] = place{source: "environment variable " + name}
		if _, serr := scalar(text, "", t); serr != nil {
			s.misfit(path, "%s", serr)
			return
		}
		if berr := v.BindEnv(path, name); berr != nil && err == nil {
			err = fmt.Errorf("bind %s: %w", name, berr)
		}
	})
	return err
}
