/** Screenshots that ship with the page; build.mjs copies their files. */

export interface Sample {
  file: string;
  title: string;
  instructions: string[];
}

export const SAMPLES: Sample[] = [
  {
    file: 'bookshop.png',
    title: 'Bookshop',
    instructions: ['click Sign in', 'open the Events link', 'type "anna" into the Email field'],
  },
  {
    file: 'register.png',
    title: 'Registration form',
    instructions: ['click Register with Google', 'type "hello" into the Last Name field', 'click the Forgot Password? link'],
  },
  {
    file: 'dashboard.png',
    title: 'Dashboard',
    instructions: ['click Dashboard', 'follow the "Tables" link', 'go to Split Button Info'],
  },
  {
    file: 'guide.png',
    title: 'Documentation',
    instructions: ['go to Showcase', 'open NPM', "click What's next?"],
  },
];

/** For a picture of the person's own. */
export const GENERAL_INSTRUCTIONS = ['click Search', 'open the menu', 'type "hello" into the first field'];
