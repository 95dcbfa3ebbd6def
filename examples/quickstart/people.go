package main

import (
	"slices"

	"github.com/httpkey/httpkey/console"
)

// user is a user as the API shows them.
type user struct {
	ID          string `json:"id"`
	FirstName   string `json:"first_name"`
	LastName    string `json:"last_name"`
	Email       string `json:"email"`
	DisplayName string `json:"display_name"`
	Avatar      string `json:"avatar"`
	AvatarURL   string `json:"avatar_url"`
}

// Name returns the name that people read.
func (u user) Name() string { return u.FirstName + " " + u.LastName }

// A person has API keys. A service token belongs to a workspace, and acts as the bot there.
var (
	ada = user{
		ID:          "5b0d7f3e-8f5c-4a55-9a37-0c2b6d4c1a10",
		FirstName:   "Ada",
		LastName:    "Lovelace",
		Email:       "ada@example.com",
		DisplayName: "ada",
		Avatar:      "https://example.com/avatars/ada.png",
		AvatarURL:   "https://example.com/avatars/ada.png",
	}
	charles = user{
		ID:          "0d9a6f0c-2f7b-4c1e-9d53-7be2a1f4c8e6",
		FirstName:   "Charles",
		LastName:    "Babbage",
		Email:       "charles@example.com",
		DisplayName: "charles",
		Avatar:      "https://example.com/avatars/charles.png",
		AvatarURL:   "https://example.com/avatars/charles.png",
	}
	bot = user{
		ID:          "e2c1a9d4-6b7e-4f0b-8c55-3d9f1b7a2e64",
		FirstName:   "Engine",
		LastName:    "Bot",
		Email:       "engine-bot@example.com",
		DisplayName: "engine-bot",
		Avatar:      "https://example.com/avatars/engine-bot.png",
		AvatarURL:   "https://example.com/avatars/engine-bot.png",
	}
)

// engine is a workspace, in which Ada is an administrator and Charles a member.
const engine = "9c1f52e7-64b0-4c7a-8a1b-2f3d6e5c7b90"

// The scopes of the API.
const (
	readCards  = "cards:read"
	writeCards = "cards:write"
	runEngine  = "engine:run"
)

// names are what people read instead of an ID.
var names = map[string]string{
	ada.ID: ada.Name(), charles.ID: charles.Name(),
	engine:    "Analytical Engine",
	readCards: "Read cards", writeCards: "Punch cards", runEngine: "Run the engine",
}

// person is a user who can sign in.
type person struct {
	user
	Role   string            // in words
	rights console.Principal // on the page of the tokens
}

var people = []person{
	{ada, "Administrator. She sees the tokens of all users, and makes service tokens.", console.Principal{
		User: ada.ID, Names: names, Admin: true, ServiceTokens: true, Workspaces: []string{engine},
		Scopes: []string{readCards, writeCards, runEngine},
	}},
	{charles, "Member. He sees his own tokens.", console.Principal{
		User: charles.ID, Names: names, Scopes: []string{readCards},
	}},
}

// find returns the person with an ID.
func find(id string) (person, bool) {
	i := slices.IndexFunc(people, func(p person) bool { return p.ID == id })
	if i < 0 {
		return person{}, false
	}
	return people[i], true
}
