package main

type user struct {
	ID          string `json:"id"`
	FirstName   string `json:"first_name"`
	LastName    string `json:"last_name"`
	Email       string `json:"email"`
	DisplayName string `json:"display_name"`
	Avatar      string `json:"avatar"`
	AvatarURL   string `json:"avatar_url"`
}

// A person has API keys. A program has a user of its own for its service token,
// so that it outlives the person that set it up.
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
	bot = user{
		ID:          "e2c1a9d4-6b7e-4f0b-8c55-3d9f1b7a2e64",
		FirstName:   "Deploy",
		LastName:    "Bot",
		Email:       "deploy-bot@example.com",
		DisplayName: "deploy-bot",
		Avatar:      "https://example.com/avatars/deploy-bot.png",
		AvatarURL:   "https://example.com/avatars/deploy-bot.png",
	}
	users = map[string]user{ada.ID: ada, bot.ID: bot}
)
